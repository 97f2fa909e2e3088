// What can be done with a machine, each deed behind a dialog that says what it does.
import { useState } from "preact/hooks";
import { Button } from "../ui/Button";
import { Confirm } from "../ui/Confirm";
import { Dialog } from "../ui/Dialog";
import { Field } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";
import { Problem } from "../ui/Problem";
import { toast } from "../ui/toast";
import { disconnect, revoke, setLabel } from "./calls";
import { labelOf, titleOf } from "./state";

interface Props {
  device: { name: string; label: string | null };
  isConnected: boolean;
  onChanged: () => void;
}

export function DeviceMenu({ device, isConnected, onChanged }: Props) {
  const [asked, setAsked] = useState<"rename" | "disconnect" | "revoke" | null>(null);
  const close = (): void => setAsked(null);
  const title = titleOf(device);
  const done = (text: string): void => {
    toast(text);
    onChanged();
  };
  return (
    <>
      <Menu
        label={`What to do with ${title}`}
        alignEnd
        items={[
          { label: "Rename", icon: <Icon name="edit" />, onSelect: () => setAsked("rename") },
          ...(isConnected ? [{ label: "Disconnect", icon: <Icon name="close" />, onSelect: () => setAsked("disconnect") }] : []),
          { label: "Revoke", icon: <Icon name="trash" />, danger: true, onSelect: () => setAsked("revoke") },
        ]}
      >
        <Icon name="more" />
      </Menu>
      {asked === "rename" && <Rename device={device} onClose={close} onChanged={onChanged} />}
      {asked === "disconnect" && (
        <Confirm
          title={`Disconnect ${title}?`}
          action="Disconnect"
          onClose={close}
          onConfirm={async () => {
            await disconnect(device.name);
            done(`${title} was disconnected.`);
          }}
        >
          <p>What it is answering now breaks off. Its agent connects again by itself, within seconds as a rule: to keep it out, revoke it.</p>
        </Confirm>
      )}
      {asked === "revoke" && (
        <Confirm
          title={`Revoke ${title}?`}
          action="Revoke"
          onClose={close}
          onConfirm={async () => {
            await revoke(device.name);
            done(`${title} was revoked.`);
          }}
        >
          <p>
            Its connection ends at once with all that it is answering, and so does its login and every token and key that is bound to it.
            It comes back only when somebody runs <code>c2l login</code> there again and you say yes. Nothing on the machine itself is deleted.
          </p>
        </Confirm>
      )}
    </>
  );
}

function Rename({ device, onClose, onChanged }: Omit<Props, "isConnected"> & { onClose: () => void }) {
  const [typed, setTyped] = useState(device.label ?? "");
  const [wrong, setWrong] = useState<string>();
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const save = async (event: Event): Promise<void> => {
    event.preventDefault();
    const wanted = labelOf(typed);
    if ("error" in wanted) return setWrong(wanted.error);
    setBusy(true);
    try {
      await setLabel(device.name, wanted.label);
      onChanged();
      onClose();
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  };
  return (
    <Dialog title={`Rename ${titleOf(device)}`} onClose={onClose}>
      <form class="stack" onSubmit={(event) => void save(event)}>
        <Field
          label="What you call it"
          value={typed}
          placeholder={device.name}
          autoFocus
          error={wrong}
          hint={`Shown in this page alone. Programs go on calling it ${device.name}. Empty: no name of your own.`}
          onInput={(event) => {
            setTyped(event.currentTarget.value);
            setWrong(undefined);
          }}
        />
        {error !== null && <Problem error={error} />}
        <div class="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind="primary" disabled={isBusy}>Save</Button>
        </div>
      </form>
    </Dialog>
  );
}
