// The keys that do something, in one list: what the dialog shows is what `chat/shortcuts.ts` acts upon.
import { signal } from "@preact/signals";
import { shortcuts } from "../chat/shortcuts";
import { Dialog } from "../ui/Dialog";

export const isHelpOpen = signal(false);

export function HelpDialog() {
  if (!isHelpOpen.value) return null;
  return (
    <Dialog title="Keyboard" onClose={() => (isHelpOpen.value = false)}>
      <dl class="shortcuts">
        {shortcuts.map(({ keys, what }) => (
          <div key={what}>
            <dt>{keys.map((key) => <kbd key={key}>{key}</kbd>)}</dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
