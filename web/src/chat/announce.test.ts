import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Announcer, plain } from "./announce";

let said: string[];
let announcer: Announcer;
beforeEach(() => {
  vi.useFakeTimers();
  said = [];
  announcer = new Announcer((text) => said.push(text));
});
afterEach(() => void vi.useRealTimers());

test("tokens are not read out, finished paragraphs are, and the end is told", () => {
  announcer.update("", "waiting");
  expect(said).toEqual(["The model was asked."]);
  let text = "";
  for (const word of "One paragraph.\n\nAnother **one**.\n\nThe la".split(/(?= )/)) announcer.update((text += word), "streaming");
  expect(said.length).toBe(1);
  vi.advanceTimersByTime(3000);
  expect(said.slice(1)).toEqual(["One paragraph. Another one."]);
  announcer.update(`${text}st`, "done");
  vi.advanceTimersByTime(3000);
  expect(said.slice(2)).toEqual(["The last Answer complete."]);
  vi.advanceTimersByTime(60_000);
  expect(said.length).toBe(3);
});

test("an answer that was there before is not read out", () => {
  announcer.update("old text\n\nmore", "done");
  vi.advanceTimersByTime(60_000);
  expect(said).toEqual([]);
});

test("a hundred paragraphs in a moment are one announcement", () => {
  announcer.update("", "waiting");
  for (let at = 1; at <= 100; at++) announcer.update("x\n\n".repeat(at), "streaming");
  vi.advanceTimersByTime(2999);
  expect(said.length).toBe(1);
  vi.advanceTimersByTime(1);
  expect(said.length).toBe(2);
});

test("Markdown is read without its marks", () => {
  expect(plain("# Title\n- a [link](https://x.example) and `code`\n```js\nlet a;\n```")).toBe("Title a link and code (code)");
});
