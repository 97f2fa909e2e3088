// Colours in code, by a library that is loaded when the first block of code has come. Without it code is shown plain.
import type { HLJSApi } from "highlight.js";
import { sanitizeProse } from "./sanitize";

/** Longer code stays plain: colours are not worth a page that stands still. */
const longest_chars = 60_000;
let library: Promise<HLJSApi | null> | null = null;

/** HTML of `code`, sanitised; null when its language is not known or it is too long. */
export async function highlight(code: string, language: string): Promise<string | null> {
  if (!language || code.length > longest_chars) return null;
  library ??= import("highlight.js/lib/common").then(
    (loaded) => loaded.default,
    () => null, // a relay of another build may be there by now; the next page load finds it
  );
  const highlighter = await library;
  if (!highlighter?.getLanguage(language)) return null;
  return sanitizeProse(highlighter.highlight(code, { language, ignoreIllegals: true }).value);
}
