// @vitest-environment jsdom
import { expect, test } from "vitest";
import { blockStart, displayAt, inlineAt, inlineStart, longest_display_chars, longest_inline_chars, looked_at_chars } from "./math";
import { renderMarkdown } from "./render";

const formulas = (source: string): number => (renderMarkdown(source).match(/class="language-math/g) ?? []).length;

test("a formula is found up to its bound, and not over it", () => {
  const of = (chars: number): string => "x".repeat(chars);
  for (const [open, close, longest, find] of [
    ["$$", "$$", longest_display_chars, displayAt],
    ["\\[", "\\]", longest_display_chars, displayAt],
    ["$", "$", longest_inline_chars, inlineAt],
    ["\\(", "\\)", longest_inline_chars, inlineAt],
  ] as const) {
    expect(find(open + of(longest) + close)).toEqual({ raw: open + of(longest) + close, tex: of(longest) });
    expect(find(open + of(longest + 1) + close), open).toBeNull();
    expect(find(`${open}x${close} and ${open}y${close}`)).toEqual({ raw: `${open}x${close}`, tex: "x" });
    expect(find(open + close), "nothing in between").toBeNull();
    expect(find(` ${open}x${close}`), "further on").toBeNull();
    expect(find(`${open}${of(200_000)}`), "without an end").toBeNull();
  }
});

/** A text that counts the places at which it is looked. */
function watched(text: string): { text: string; looks: () => number } {
  let looks = 0;
  const string = new Proxy(Object(text) as Record<PropertyKey, unknown>, {
    get: (_, name) => {
      if (name === "length") return text.length;
      if (name === "startsWith") return (what: string, at?: number) => ((looks += 1), text.startsWith(what, at));
      if (name === "slice") return (from: number, to: number) => ((looks += Math.min(to, text.length) - from), text.slice(from, to));
      return text[Number(name)];
    },
  });
  return { text: string as unknown as string, looks: () => looks };
}

test("a hostile text is read a few times, and not once from each place in it", () => {
  const size = 200_000;
  for (const [begins, find] of [["\\[ ", displayAt], ["\\( ", inlineAt], ["\\[\\\\x\\(", displayAt]] as const) {
    const hostile = begins.repeat(size / begins.length);
    let looks = 0;
    let found = 0;
    for (let at = 0; at < hostile.length; at += begins.length) {
      const rest = watched(hostile.slice(at));
      found += find(rest.text) === null ? 0 : 1;
      looks += rest.looks();
    }
    expect(found, begins).toBe(0);
    expect(looks, begins).toBeLessThan(8 * size);
  }
});

test("a text without a formula is looked at in parts", () => {
  for (const start of [inlineStart, blockStart]) {
    const rest = watched("x".repeat(200_000));
    expect(start(rest.text)).toBe(start === inlineStart ? looked_at_chars : undefined);
    expect(rest.looks()).toBe(looked_at_chars);
  }
});

test("a formula far into a text is found, and the text before it stays whole", () => {
  const before = "word ".repeat(1000);
  const html = renderMarkdown(`${before}$x^2$ and \\(y\\) end`);
  expect(html.match(/<code class="language-math-inline">/g)?.length).toBe(2);
  expect(html.startsWith(`<p>${before}<code`)).toBe(true);
  expect(formulas("\\[ \\begin{array}{l} a \\\\[2pt] b \\end{array} \\]")).toBe(1);
  expect(formulas(`${before}\n$$\nz\n$$`)).toBe(1);
});
