// Which of several messages at one place is shown, and the way to the others.
import { Icon } from "../ui/Icon";
import { IconButton } from "../ui/Button";
import type { Message } from "./conversation";
import { happen } from "./library";

export function Branches({ conversation, message, siblings }: { conversation: string; message: Message; siblings: Message[] }) {
  if (siblings.length < 2) return null;
  const at = siblings.findIndex(({ id }) => id === message.id);
  const show = (to: Message | undefined): void => {
    if (to) happen(conversation, { type: "shown", head: to.id });
  };
  return (
    <span class="branches">
      <IconButton label="The version before" class="turn-left" disabled={at === 0} onClick={() => show(siblings[at - 1])}>
        <Icon name="chevron" />
      </IconButton>
      <span aria-label={`Version ${at + 1} of ${siblings.length}`}>{at + 1}/{siblings.length}</span>
      <IconButton label="The next version" class="turn-right" disabled={at === siblings.length - 1} onClick={() => show(siblings[at + 1])}>
        <Icon name="chevron" />
      </IconButton>
    </span>
  );
}
