import { expect, test } from "vitest";
import { defaults, keepAliveError, readNumber, readSettings } from "./settings";
import { commandOf } from "./shortcuts";

test("numbers are read within their bounds, and empty is none", () => {
  expect(readNumber("temperature", " 0,7 ")).toEqual({ value: 0.7 });
  expect(readNumber("seed", "-5")).toEqual({ value: -5 });
  expect(readNumber("topP", "")).toEqual({ value: null });
  for (const [setting, typed] of [["temperature", "2.1"], ["temperature", "x"], ["topP", "-1"], ["contextTokens", "0.5"], ["contextTokens", "12"], ["seed", "1e99"], ["seed", "NaN"]] as const) {
    expect(readNumber(setting, typed), `${setting} ${typed}`).toHaveProperty("error");
  }
});

test("a time to keep the model is what Ollama takes", () => {
  for (const good of ["", "10m", "1h30m", "-1", "0", "300", "1.5h"]) expect(keepAliveError(good), good).toBeNull();
  for (const bad of ["soon", "10 m", "m", "10d"]) expect(keepAliveError(bad), bad).not.toBeNull();
});

test("settings out of anything are good ones", () => {
  for (const nothing of [null, 5, "x", []]) expect(readSettings(nothing)).toEqual(defaults);
  expect(readSettings({ ...defaults, seed: 1.5, temperature: 1 })).toEqual({ ...defaults, temperature: 1 });
});

test("keys do what the help says, and leave typing alone", () => {
  const press = (key: string, more = {}) => commandOf({ key, ctrl: false, shift: false, alt: false, isTyping: false, ...more });
  expect(press("k", { ctrl: true, isTyping: true })).toBe("search");
  expect(press("O", { ctrl: true, shift: true })).toBe("new");
  expect(press("C", { ctrl: true, shift: true })).toBe("copy");
  expect(press("c", { ctrl: true })).toBeNull();
  expect(press(".", { ctrl: true })).toBe("settings");
  expect(press("Escape", { isTyping: true })).toBe("stop");
  expect(press("?", { shift: true })).toBe("help");
  expect(press("?", { isTyping: true })).toBeNull();
  expect(press("/")).toBe("focus");
  expect(press("k", { ctrl: true, alt: true })).toBeNull();
});
