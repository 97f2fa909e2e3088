// A button that opens a list of actions. Arrow keys move, Esc and a click elsewhere close, focus goes back to the button.
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "./Button";
import { useOutside } from "./useOutside";

export interface MenuItem {
  label: string;
  icon?: ComponentChildren;
  danger?: boolean;
  disabled?: boolean;
  /** Where given, the item is one of several that can be chosen. */
  checked?: boolean;
  onSelect: () => void;
}

interface Props {
  /** What the button is called. */
  label: string;
  children: ComponentChildren;
  items: MenuItem[];
  class?: string;
  /** Which way it opens; down and toward the start of the line, unless said. */
  up?: boolean;
  alignEnd?: boolean;
}

export function Menu({ label, children, items, class: extra, up, alignEnd }: Props) {
  const [isOpen, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();

  useLayoutEffect(() => {
    if (isOpen) entries(list.current)[0]?.focus();
  }, [isOpen]);
  useOutside(root, isOpen, () => setOpen(false));

  const close = (): void => {
    setOpen(false);
    root.current?.querySelector("button")?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (!isOpen) return;
    const all = entries(list.current);
    const at = all.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Escape") close();
    else if (event.key === "Tab") setOpen(false);
    else if (to !== undefined) all[to % all.length]?.focus();
    if (event.key === "Escape" || to !== undefined) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  return (
    <div class="menu" ref={root} onKeyDown={onKeyDown}>
      <Button
        kind="quiet"
        class={extra ?? "button-icon"}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        aria-controls={isOpen ? id : undefined}
        aria-label={label}
        title={label}
        onClick={() => setOpen(!isOpen)}
      >
        {children}
      </Button>
      {isOpen && (
        <div id={id} ref={list} role="menu" aria-label={label} class={`menu-list${up ? " menu-up" : ""}${alignEnd ? " menu-end" : ""}`}>
          {items.map((item) => (
            <button
              key={item.label}
              type="button"
              role={item.checked === undefined ? "menuitem" : "menuitemradio"}
              aria-checked={item.checked}
              disabled={item.disabled}
              class={`menu-item${item.danger ? " menu-danger" : ""}`}
              onClick={() => {
                close();
                item.onSelect();
              }}
            >
              {item.icon}
              <span>{item.label}</span>
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

function entries(list: HTMLElement | null): HTMLButtonElement[] {
  return list ? [...list.querySelectorAll<HTMLButtonElement>("button:not(:disabled)")] : [];
}
