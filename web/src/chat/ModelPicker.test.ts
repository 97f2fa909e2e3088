// @vitest-environment jsdom
import { h, render } from "preact";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ModelChoice } from "./conversation";
import { ModelPicker } from "./ModelPicker";
import { refreshModels } from "./modelList";

const names = ["steady:latest", "tiny:latest"];
let loaded: string[];
let chosen: ModelChoice[];
let box: HTMLElement;

beforeEach(async () => {
  loaded = [];
  chosen = [];
  Element.prototype.scrollIntoView = () => undefined;
  const listed = (all: string[]) => ({ models: all.map((name) => ({ name })) });
  vi.stubGlobal("fetch", (url: string) => {
    if (url.endsWith("/devices")) return Promise.resolve(Response.json({ devices: [{ name: "desk", session_id: "1" }] }));
    return Promise.resolve(Response.json(listed(url.endsWith("/tags") ? names : loaded)));
  });
  await refreshModels();
  box = document.body.appendChild(document.createElement("div"));
  // No frame is drawn and no clock runs: what is true then is true before the next key.
  vi.useFakeTimers({ toFake: ["requestAnimationFrame", "cancelAnimationFrame", "setTimeout", "clearTimeout"] });
  render(h(ModelPicker, { choice: { device: "desk", model: "tiny:latest" }, onChoose: (to) => void chosen.push(to) }), box);
});
afterEach(() => {
  render(null, box);
  box.remove();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** All that is done between two keys, without a frame in between. */
async function betweenKeys(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** Presses a key where the focus is, as a browser does: a letter goes into a field alone, and Enter presses a button. */
async function press(key: string, more: KeyboardEventInit = {}): Promise<void> {
  const target = document.activeElement!;
  const isTaken = !target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  if (!isTaken && key === "Enter" && target instanceof HTMLButtonElement) target.click();
  if (!isTaken && key.length === 1 && target instanceof HTMLInputElement) {
    target.value += key;
    target.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }
  await betweenKeys();
}

const marked = (): string | null | undefined => box.querySelector("[data-marked] .picker-name")?.textContent;

test("who opens it with a key and types at once gets the model that was typed", async () => {
  box.querySelector("button")!.focus();
  await press("Enter");
  expect(document.activeElement?.getAttribute("aria-label")).toBe("Search models");
  expect(marked()).toBe("tiny:latest");
  for (const letter of "steady") await press(letter);
  await press("Enter");
  expect(chosen).toEqual([{ device: "desk", model: "steady:latest" }]);
});

test("a key that is still held down from opening it chooses nothing, and one that ends a word does not", async () => {
  box.querySelector("button")!.focus();
  await press("Enter");
  await press("Enter", { repeat: true });
  await press("Enter", { isComposing: true });
  expect(chosen).toEqual([]);
  await press("Enter");
  expect(chosen).toEqual([{ device: "desk", model: "tiny:latest" }]);
});

test("the marked model stays marked when the list is asked for anew and its order is another", async () => {
  box.querySelector("button")!.focus();
  await press("Enter");
  await press("ArrowUp");
  expect(marked()).toBe("steady:latest");
  loaded = ["tiny:latest"];
  vi.useRealTimers();
  await vi.waitFor(async () => {
    await refreshModels();
    expect(box.querySelector(".picker-name")?.textContent).toBe("tiny:latest"); // loaded ones come first
  });
  expect(marked()).toBe("steady:latest");
  await press("Enter");
  expect(chosen).toEqual([{ device: "desk", model: "steady:latest" }]);
});
