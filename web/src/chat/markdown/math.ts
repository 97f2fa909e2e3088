// Formulas in Markdown: `$…$`, `$$…$$`, `\(…\)`, `\[…\]`. Here they only become marked code; `typeset` makes formulas of them when they
// are shown, with a library that is loaded when the first one comes.
import type { TokenizerAndRendererExtension } from "marked";

export const inline_class = "language-math-inline";
export const display_class = "language-math-display";
const longest_chars = 20_000;

const display = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])/;
// A dollar sign is money unless something stands right inside both, and no word follows.
const inline = /^(?:\$(?!\s)((?:\\.|[^\\$\n`])+?)(?<!\s)\$(?!\w)|\\\(([\s\S]+?)\\\))/;

export function mathExtensions(escape: (text: string) => string): TokenizerAndRendererExtension[] {
  const extension = (name: string, level: "block" | "inline", pattern: RegExp, className: string, tag: string): TokenizerAndRendererExtension => ({
    name,
    level,
    start: (source) => {
      // A block begins its line; told otherwise, the parser would end a paragraph at each dollar sign in it.
      const at = level === "block" ? source.search(/(?<=^|\n)(?:\$\$|\\\[)/) : source.search(/\$|\\[[(]/);
      return at < 0 ? undefined : at;
    },
    tokenizer: (source) => {
      const found = pattern.exec(source);
      const tex = found?.[1] ?? found?.[2];
      if (!found || tex === undefined || tex.length > longest_chars) return undefined;
      return { type: name, raw: found[0], tex: tex.trim() };
    },
    renderer: (token) => `<${tag} class="${className}">${escape(String(token["tex"]))}</${tag}>`,
  });
  return [
    extension("mathBlock", "block", display, display_class, "pre"),
    extension("mathDisplay", "inline", display, display_class, "code"),
    extension("mathInline", "inline", inline, inline_class, "code"),
  ];
}
