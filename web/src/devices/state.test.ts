import { expect, test } from "vitest";
import { codeOf, labelOf, loginLines, modelsOf, relayOrigin, titleOf, transportName } from "./state";

test("a code is taken however it is typed, and only when it is whole", () => {
  for (const typed of ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "b-c-d-f-g-h-j-k"]) expect(codeOf(typed)).toBe("BCDF-GHJK");
  for (const typed of ["", "BCDF", "BCDF-GHJ", "BCDF-GHJKL"]) expect(codeOf(typed)).toBeNull();
});

test("labels are bounded in bytes, and an empty one takes the label away", () => {
  expect(labelOf("  Desk upstairs ")).toEqual({ label: "Desk upstairs" });
  expect(labelOf("   ")).toEqual({ label: null });
  expect(labelOf("ü".repeat(32))).toEqual({ label: "ü".repeat(32) });
  expect(labelOf("ü".repeat(33))).toHaveProperty("error");
  expect(labelOf("a\u0007b")).toHaveProperty("error");
});

test("models in memory come first, also those that the disk does not list", () => {
  const tags = { models: [{ name: "qwen3:8b", size: 5 }, { name: "llama3.2:latest", size: 2 }, { model: "phi4" }] };
  const running = { models: [{ name: "qwen3:8b", size: 6, size_vram: 4 }, { name: "remote:cloud" }] };
  expect(modelsOf(tags, running)).toEqual([
    { name: "qwen3:8b", size_bytes: 5, loaded_bytes: 6 },
    { name: "remote:cloud", size_bytes: null, loaded_bytes: 0 },
    { name: "llama3.2:latest", size_bytes: 2, loaded_bytes: null },
    { name: "phi4", size_bytes: null, loaded_bytes: null },
  ]);
});

test("what a machine answers is not trusted to be a list of models", () => {
  for (const odd of [null, undefined, 7, "x", {}, { models: null }, { models: [null, 1, {}, { name: "" }, { name: 3 }] }]) {
    expect(modelsOf(odd, odd)).toEqual([]);
  }
  expect(modelsOf({ models: [{ name: "a", size: "big" }] }, null)).toEqual([{ name: "a", size_bytes: null, loaded_bytes: null }]);
});

test("what is shown and copied", () => {
  expect(titleOf({ name: "desk", label: null })).toBe("desk");
  expect(titleOf({ name: "desk", label: "Desk upstairs" })).toBe("Desk upstairs");
  expect(relayOrigin(null, "http://localhost:8080")).toBe("http://localhost:8080");
  expect(relayOrigin("https://relay.example/", "http://localhost:8080")).toBe("https://relay.example");
  expect(loginLines("https://relay.example")).toBe("c2l login --relay https://relay.example && c2l agent");
  expect(transportName("websocket")).toContain("WebSocket");
});
