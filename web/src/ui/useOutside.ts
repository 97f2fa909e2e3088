// What is open closes when something outside of it is pressed.
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

/** Calls `onOutside` for each press outside of `root`, while `isOpen`. */
export function useOutside(root: RefObject<HTMLElement | null>, isOpen: boolean, onOutside: () => void): void {
  useEffect(() => {
    if (!isOpen) return;
    const pressed = (event: Event): void => {
      if (!root.current?.contains(event.target as Node)) onOutside();
    };
    document.addEventListener("pointerdown", pressed);
    return () => document.removeEventListener("pointerdown", pressed);
  }, [isOpen]);
}
