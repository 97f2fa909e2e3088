// Formulas in Markdown: `$…$`, `$$…$$`, `\(…\)`, `\[…\]`. Here they only become marked code; `typeset` makes formulas of them when they
// are shown, with a library that is loaded when the first one comes.
//
// Invariant: what is read from one beginning ends at the next one, and at a bound: a text of nothing but beginnings is read once, and
// not to its end from each of them.
import type { TokenizerAndRendererExtension } from "marked";

export const inline_class = "language-math-inline";
export const display_class = "language-math-display";
/** A longer formula is shown as it was written. */
export const longest_display_chars = 20_000;
export const longest_inline_chars = 2000;
/** How far the next beginning of one is looked for at a time. */
export const looked_at_chars = 2000;

// A dollar sign is money unless something stands right inside both, and no word follows.
const dollars = new RegExp(`^\\$(?!\\s)((?:\\\\.|[^\\\\$\\n\`]){1,${longest_inline_chars}}?)(?<!\\s)\\$(?!\\w)`);

interface Formula {
  raw: string;
  tex: string;
}

/** The formula with which `source` begins, on a line of its own or within one; null when it begins with none. */
export function displayAt(source: string): Formula | null {
  return enclosed(source, "$$", "$$", longest_display_chars) ?? enclosed(source, "\\[", "\\]", longest_display_chars);
}
export function inlineAt(source: string): Formula | null {
  const found = source.startsWith("$") ? dollars.exec(source) : null;
  return found ? { raw: found[0], tex: found[1]! } : enclosed(source, "\\(", "\\)", longest_inline_chars);
}

/** What stands between `open`, right at the beginning, and the next `close`, with no other `open` before it. */
function enclosed(source: string, open: string, close: string, longest: number): Formula | null {
  if (!source.startsWith(open)) return null;
  for (let at = open.length; at <= open.length + longest && at < source.length; ) {
    if (source.startsWith(close, at)) {
      return at === open.length ? null : { raw: source.slice(0, at + close.length), tex: source.slice(open.length, at) };
    }
    if (source.startsWith(open, at)) return null;
    at += source[at] === "\\" ? 2 : 1; // what a backslash stands before is no beginning: `\\[2pt]`
  }
  return null;
}

/** Where in a text a formula may begin. Beyond what is looked at it is asked again: the text is cut there, and goes on. */
export function inlineStart(source: string): number | undefined {
  const at = source.slice(0, looked_at_chars).search(/\$|\\[[(]/);
  return at >= 0 ? at : source.length > looked_at_chars ? looked_at_chars : undefined;
}

/** The same of a formula that begins a line. A paragraph cannot be cut: in a long one it is found as one within a line. */
export function blockStart(source: string): number | undefined {
  const at = source.slice(0, looked_at_chars).search(/(?<=^|\n)(?:\$\$|\\\[)/);
  return at >= 0 ? at : undefined;
}

export function mathExtensions(escape: (text: string) => string): TokenizerAndRendererExtension[] {
  const extension = (name: string, level: "block" | "inline", find: (source: string) => Formula | null, className: string, tag: string): TokenizerAndRendererExtension => ({
    name,
    level,
    // A block begins its line; told otherwise, the parser would end a paragraph at each dollar sign in it.
    start: level === "block" ? blockStart : inlineStart,
    tokenizer: (source) => {
      const found = find(source);
      return found ? { type: name, raw: found.raw, tex: found.tex.trim() } : undefined;
    },
    renderer: (token) => `<${tag} class="${className}">${escape(String(token["tex"]))}</${tag}>`,
  });
  return [
    extension("mathBlock", "block", displayAt, display_class, "pre"),
    extension("mathDisplay", "inline", displayAt, display_class, "code"),
    extension("mathInline", "inline", inlineAt, inline_class, "code"),
  ];
}
