import { expect, test } from "vitest";
import { emptyForm, endingOf, limitsOf, patternsOf, requestOf } from "./state";

test("a name is all it takes; the rest is left to the relay", () => {
  expect(requestOf({ ...emptyForm, name: " ci ", expires: "never" })).toEqual({
    request: { name: "ci", kind: "api", scopes: ["infer"], models: [] },
  });
});

test("every limit reaches the request", () => {
  const form = { name: "ci", isManager: true, models: "qwen3:*, llama3.2\nqwen3:*", device: "desk", expires: "30", rate: " 30 " } as const;
  expect(requestOf(form)).toEqual({
    request: {
      name: "ci", kind: "api", scopes: ["infer", "manage"], models: ["qwen3:*", "llama3.2"], device: "desk",
      requests_per_minute: 30, expires_in_seconds: 2_592_000,
    },
  });
});

test("a new key ends by itself, unless somebody says otherwise", () => {
  expect(requestOf({ ...emptyForm, name: "x" })).toMatchObject({ request: { expires_in_seconds: 7_776_000 } });
});

test("what is wrong is said beside its field, all at once", () => {
  const result = requestOf({ ...emptyForm, name: "  ", models: "m".repeat(257), rate: "0" });
  expect(result).toEqual({ errors: { name: expect.any(String), models: expect.any(String), rate: expect.any(String) } });
  for (const rate of ["-1", "1.5", "x", "1e3", "9999999999"]) expect(requestOf({ ...emptyForm, name: "x", rate })).toHaveProperty("errors.rate");
  expect(requestOf({ ...emptyForm, name: "ü".repeat(33) })).toHaveProperty("errors.name");
  expect(requestOf({ ...emptyForm, name: "x", models: Array.from({ length: 65 }, (_, n) => `m${n}`).join(" ") })).toHaveProperty("errors.models");
});

test("limits in words", () => {
  const key = { kind: "api", scopes: ["infer"], models: [], device: null, requests_per_minute: null } as const;
  expect(limitsOf({ ...key, scopes: ["infer"], models: [] })).toEqual([]);
  expect(limitsOf({ kind: "api", scopes: ["infer", "manage"], models: ["a", "b*"], device: "desk", requests_per_minute: 5 })).toEqual([
    "manages models", "models a, b*", "on desk", "5 requests a minute",
  ]);
  expect(limitsOf({ ...key, kind: "agent", scopes: [], models: [] })).toEqual(["connects a machine"]);
});

test("patterns are apart by commas, spaces and lines", () => {
  expect(patternsOf(" a,b  c\n,a ")).toEqual(["a", "b", "c"]);
});

test("an end that is near is told", () => {
  expect(endingOf(null, 0)).toEqual({ text: "never" });
  expect(endingOf(10, 10_000)).toEqual({ text: "ended" });
  expect(endingOf(604_799, 0)).toEqual({ text: "soon", left_ms: 604_799_000 });
  expect(endingOf(604_800, 0)).toEqual({ text: "later", left_ms: 604_800_000 });
});
