// What can be done with a conversation: a name, a file, an end.
import { useState } from "preact/hooks";
import { go } from "../app/navigation";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { Field } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";
import { toastError } from "../ui/toast";
import { keepDraft } from "./draft";
import { saveAsFile } from "./files";
import { deleteConversations, renameConversation } from "./library";

interface Props {
  id: string;
  title: string;
  isCurrent: boolean;
  alignEnd?: boolean;
}

export function ConversationMenu({ id, title, isCurrent, alignEnd }: Props) {
  const [dialog, setDialog] = useState<"rename" | "delete" | null>(null);
  const close = (): void => setDialog(null);
  return (
    <>
      <Menu
        label={`More about ${title}`}
        alignEnd={alignEnd ?? false}
        items={[
          { label: "Rename", icon: <Icon name="edit" />, onSelect: () => setDialog("rename") },
          { label: "Export", icon: <Icon name="download" />, onSelect: () => void saveAsFile(id).catch(toastError) },
          { label: "Delete", icon: <Icon name="trash" />, danger: true, onSelect: () => setDialog("delete") },
        ]}
      >
        <Icon name="more" />
      </Menu>
      {dialog === "rename" && <RenameDialog id={id} title={title} onClose={close} />}
      {dialog === "delete" && <DeleteDialog id={id} title={title} isCurrent={isCurrent} onClose={close} />}
    </>
  );
}

function RenameDialog({ id, title, onClose }: { id: string; title: string; onClose: () => void }) {
  const [typed, setTyped] = useState(title);
  const rename = (): void => {
    if (!typed.trim()) return;
    void renameConversation(id, typed).catch(toastError);
    onClose();
  };
  return (
    <Dialog
      title="Rename"
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" disabled={!typed.trim()} onClick={rename}>Rename</Button>
        </>
      }
    >
      <Field label="Name" value={typed} maxLength={200} autoFocus onInput={(event) => setTyped(event.currentTarget.value)} onKeyDown={(event) => event.key === "Enter" && rename()} />
    </Dialog>
  );
}

function DeleteDialog({ id, title, isCurrent, onClose }: { id: string; title: string; isCurrent: boolean; onClose: () => void }) {
  const remove = (): void => {
    keepDraft(id, "");
    if (isCurrent) go({ view: "chat", conversation: null }, { replace: true });
    void deleteConversations([id]).catch(toastError);
    onClose();
  };
  return (
    <Dialog
      title="Delete this conversation?"
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="danger" onClick={remove}>Delete</Button>
        </>
      }
    >
      <p>“{title}” is kept in this browser alone. It cannot be brought back.</p>
    </Dialog>
  );
}
