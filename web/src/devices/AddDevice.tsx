// How to add a machine: the command to run there, and where to type the code that it shows.
import { useState } from "preact/hooks";
import { session } from "../api/session";
import { go } from "../app/navigation";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { Field } from "../ui/Field";
import { Lines } from "../ui/Lines";
import { codeOf, loginLines, relayOrigin } from "./state";

export function AddDevice({ onClose }: { onClose: () => void }) {
  const now = session.value;
  return (
    <Dialog title="Add a machine" onClose={onClose} wide>
      <Steps hasLogin={now.phase === "signed_in" && now.answer.device_login !== false} onCode={onClose} />
    </Dialog>
  );
}
AddDevice.Steps = Steps;

function Steps({ hasLogin, onCode }: { hasLogin: boolean; onCode?: () => void }) {
  const now = session.value;
  const origin = relayOrigin(now.phase === "signed_in" ? now.answer.public_url : null, location.origin);
  if (!hasLogin) {
    return (
      <div class="stack steps">
        <p>This relay logs no machines in by a code. Make a token on the relay's own machine, take it to the one with the models, and start the agent there:</p>
        <Lines label="command that makes a token" text="c2l token issue --user owner --kind agent --ttl 90d > agent.token" />
        <Lines label="command that starts the agent" text={`c2l agent --relay ${origin} --token-file agent.token`} />
      </div>
    );
  }
  return (
    <ol class="steps">
      <li>
        <p>On the machine with your models, run:</p>
        <Lines label="login command" text={loginLines(origin)} />
      </li>
      <li>
        <p>It shows a code. Type it here:</p>
        <CodeForm {...(onCode ? { onCode } : {})} />
      </li>
    </ol>
  );
}

function CodeForm({ onCode }: { onCode?: () => void }) {
  const [typed, setTyped] = useState("");
  const [wrong, setWrong] = useState<string>();
  const submit = (event: Event): void => {
    event.preventDefault();
    const code = codeOf(typed);
    if (code === null) return setWrong("A code has eight letters, like BCDF-GHJK.");
    onCode?.();
    go({ view: "devices", confirm: code });
  };
  return (
    <form class="inline-form" onSubmit={submit}>
      <Field
        label="Code"
        value={typed}
        placeholder="BCDF-GHJK"
        autoComplete="off"
        spellcheck={false}
        error={wrong}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setWrong(undefined);
        }}
      />
      <Button type="submit" kind="primary">Go on</Button>
    </form>
  );
}
