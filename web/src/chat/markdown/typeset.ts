// Formulas as MathML, which the browser lays out itself: no fonts and no styles are needed. The library is loaded for the first one.
import { sanitizeFormula } from "./sanitize";

type Library = { renderToString: (tex: string, options: object) => string };
let library: Promise<Library | null> | null = null;

/** MathML of `tex`, sanitised; null when it cannot be typeset, and then its source is what is shown. */
export async function typeset(tex: string, isDisplay: boolean): Promise<string | null> {
  library ??= import("katex").then(
    (loaded) => loaded.default as Library,
    () => null,
  );
  const katex = await library;
  if (!katex) return null;
  try {
    const options = { output: "mathml", displayMode: isDisplay, throwOnError: true, trust: false, strict: "ignore", maxExpand: 300, maxSize: 20 };
    const html = katex.renderToString(tex, options);
    return sanitizeFormula(html);
  } catch {
    return null;
  }
}
