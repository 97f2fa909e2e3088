// Who asks to be let in under a code, and the word on it. Nothing is approved by opening an address: it takes a press of a button.
import { useEffect, useState } from "preact/hooks";
import { isAbort } from "../api/client";
import { ApiError } from "../api/errors";
import { session } from "../api/session";
import { go } from "../app/navigation";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { ago } from "../ui/format";
import { Problem } from "../ui/Problem";
import { toast } from "../ui/toast";
import { useNow } from "../ui/useNow";
import { AddDevice } from "./AddDevice";
import { answerLogin, describeLogin } from "./calls";
import { codeOf, type Login } from "./state";

export function ConfirmCode({ code: given, onClose }: { code: string; onClose: () => void }) {
  const code = codeOf(given);
  const [login, setLogin] = useState<Login | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const now_ms = useNow(10_000);
  useEffect(() => {
    if (code === null) return;
    const leave = new AbortController();
    setLogin(null);
    setError(null);
    describeLogin(code, leave.signal).then(setLogin, (thrown: unknown) => {
      if (!isAbort(thrown)) setError(thrown);
    });
    return () => leave.abort();
  }, [code]);

  if (code === null) return <AddDevice onClose={onClose} />;
  const answer = async (word: "approve" | "deny"): Promise<void> => {
    setBusy(true);
    try {
      const { device } = await answerLogin(word, code);
      toast(word === "approve" ? `${device} is logged in now. It connects by itself.` : `${device} was not let in.`);
      onClose();
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  };
  const now = session.value;
  return (
    <Dialog
      title="Is this machine yours?"
      onClose={onClose}
      actions={
        login && error === null ? (
          <>
            <Button disabled={isBusy} onClick={() => void answer("deny")}>No, refuse it</Button>
            <Button kind="primary" disabled={isBusy} onClick={() => void answer("approve")}>Yes, log it in</Button>
          </>
        ) : undefined
      }
    >
      {!login && error === null && <p role="status">Looking who asks …</p>}
      {error !== null && <CodeProblem error={error} />}
      {login && error === null && (
        <>
          <dl class="facts">
            <div><dt>Code</dt><dd class="mono login-code">{code}</dd></div>
            <div><dt>Machine</dt><dd>{login.device}</dd></div>
            <div><dt>Asks from</dt><dd>{login.address}</dd></div>
            <div><dt>Asked</dt><dd>{ago(login.asked_unix_seconds * 1000, now_ms)}</dd></div>
            {now.phase === "signed_in" && <div><dt>For</dt><dd>{now.answer.user}</dd></div>}
          </dl>
          <p class="note">
            If you say yes, what you send to your models may go to that machine. Say yes only if it shows this very code, and you have just
            started <code>c2l login</code> there yourself.
          </p>
        </>
      )}
    </Dialog>
  );
}

/** A wrong code, and too many of them, have words of their own. */
function CodeProblem({ error }: { error: unknown }) {
  const kind = error instanceof ApiError ? error.fault.kind : null;
  const another = <Button onClick={() => go({ view: "devices", confirm: "" }, { replace: true })}>Type another code</Button>;
  if (kind !== "route_unknown") return <Problem error={error}>{another}</Problem>;
  return (
    <div class="stack" role="alert">
      <p><strong>No machine waits under this code.</strong> Codes are good for ten minutes: look again at the machine, or run <code>c2l login</code> there once more.</p>
      <div>{another}</div>
    </div>
  );
}
