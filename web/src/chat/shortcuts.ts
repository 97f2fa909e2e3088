// What the keys do. Plain, so that it can be tested; the page only carries out what it is told.
export type Command = "search" | "new" | "stop" | "focus" | "settings" | "help" | "copy";

export const shortcuts: { keys: string[]; what: string }[] = [
  { keys: ["Enter"], what: "Send" },
  { keys: ["Shift", "Enter"], what: "New line" },
  { keys: ["Esc"], what: "Stop the answer" },
  { keys: ["Ctrl", "K"], what: "Search conversations" },
  { keys: ["Ctrl", "Shift", "O"], what: "New conversation" },
  { keys: ["Ctrl", "Shift", "C"], what: "Copy the last answer" },
  { keys: ["Ctrl", "."], what: "Settings of the conversation" },
  { keys: ["↑"], what: "In an empty message: edit the last one" },
  { keys: ["/"], what: "Go to the message" },
  { keys: ["?"], what: "This help" },
];

export interface KeyPress {
  key: string;
  ctrl: boolean;
  shift: boolean;
  alt: boolean;
  /** Whether somebody is typing; single letters are theirs then. */
  isTyping: boolean;
}

/** The command of a key press, if it is one. `ctrl` stands for ⌘ too. */
export function commandOf({ key, ctrl, shift, alt, isTyping }: KeyPress): Command | null {
  if (alt) return null;
  if (ctrl) {
    if (!shift && key.toLowerCase() === "k") return "search";
    if (!shift && key === ".") return "settings";
    if (shift && key.toLowerCase() === "o") return "new";
    if (shift && key.toLowerCase() === "c") return "copy";
    return null;
  }
  if (key === "Escape") return "stop";
  if (isTyping) return null;
  if (key === "/") return "focus";
  return key === "?" ? "help" : null;
}
