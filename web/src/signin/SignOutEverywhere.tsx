// Ends every sign-in, token and login of this user, here and elsewhere; and the keys as well, if that is wanted.
import { useState } from "preact/hooks";
import { call } from "../api/client";
import { leave } from "../api/session";
import { go } from "../app/navigation";
import { Check } from "../ui/Check";
import { Confirm } from "../ui/Confirm";

export function SignOutEverywhere({ onClose }: { onClose: () => void }) {
  const [withKeys, setWithKeys] = useState(false);
  const signOut = async (): Promise<void> => {
    await call("account/sign-out", { method: "POST", body: { keys: withKeys } });
    await leave();
    go({ view: "chat", conversation: null }, { replace: true });
  };
  return (
    <Confirm title="Sign out everywhere?" action="Sign out everywhere" onConfirm={signOut} onClose={onClose}>
      <p>
        Every browser that is signed in as you, every token and every machine's login from before now ends at once. Machines that were logged
        in disconnect, and need <code>c2l login</code> again. Your conversations stay in this browser.
      </p>
      <Check label="Revoke all my keys as well" hint="Programs that use one of them stop working." isChecked={withKeys} onChange={setWithKeys} />
    </Confirm>
  );
}
