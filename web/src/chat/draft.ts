// What is being written, kept at each key: neither a reload nor a sign-in nor a crash loses it. Text alone; images are the page's.
import { readOwn, writeOwn, type Keeper } from "../app/storage";

const longest_chars = 200_000;

/** `conversation` is null for the one that is not begun yet. */
export function readDraft(conversation: string | null, keeper?: Keeper): string {
  return readOwn(nameOf(conversation), keeper) ?? "";
}

export function keepDraft(conversation: string | null, text: string, keeper?: Keeper): void {
  writeOwn(nameOf(conversation), text ? text.slice(0, longest_chars) : null, keeper);
}

function nameOf(conversation: string | null): string {
  return `draft:${conversation ?? "new"}`;
}
