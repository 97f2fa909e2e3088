// A modal dialog on the browser's own <dialog>: it keeps the focus inside, gives it back, and closes with Esc.
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { IconButton } from "./Button";
import { Icon } from "./Icon";

interface Props {
  title: string;
  /** Called for Esc, the cross and a click beside it; without it the dialog cannot be dismissed. */
  onClose?: (() => void) | undefined;
  children: ComponentChildren;
  /** Buttons at its end. */
  actions?: ComponentChildren;
  wide?: boolean;
}

export function Dialog({ title, onClose, children, actions, wide }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  // Before the next key can come, which is meant for the dialog.
  useLayoutEffect(() => {
    const dialog = element.current!;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  return (
    <dialog
      ref={element}
      class={`dialog${wide ? " dialog-wide" : ""}`}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault(); // what is shown is decided by state, not by the element
        onClose?.();
      }}
      onClose={() => {
        // A browser closes it by itself when Esc is pressed again and again; what cannot be dismissed comes back.
        // One that is gone from the page was closed by its end, and closes nothing else.
        if (!element.current?.isConnected) return;
        if (onClose) onClose();
        else element.current.showModal();
      }}
      onPointerDown={(event) => {
        if (event.target === element.current) onClose?.();
      }}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id={heading}>{title}</h2>
          {onClose && (
            <IconButton label="Close" onClick={onClose}>
              <Icon name="close" />
            </IconButton>
          )}
        </header>
        {children}
        {actions && <footer class="dialog-actions">{actions}</footer>}
      </div>
    </dialog>
  );
}
