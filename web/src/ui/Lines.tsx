// Lines to copy: shown as they are, scrolled rather than broken, with the button that takes them.
import { CopyButton } from "./copy";

export function Lines({ text, label }: { text: string; label: string }) {
  return (
    <div class="lines">
      {/* Reachable by keyboard, since it may have to be scrolled. */}
      <pre tabIndex={0} role="region" aria-label={label}>
        <code>{text}</code>
      </pre>
      <CopyButton text={text} label={`Copy: ${label}`} iconOnly />
    </div>
  );
}
