import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { asTags, dialectOf, holdingsOf } from "./engine";
import { ApiError } from "./errors";

let answers: Record<string, [status: number, body: unknown]>;
let asked: string[];

beforeEach(() => {
  asked = [];
  vi.stubGlobal("fetch", (url: string) => {
    const path = url.replace(/^\/web\/v1\/devices\/[^/]+\//, "");
    asked.push(path);
    const [status, body] = answers[path] ?? [404, { error: { message: "File Not Found", type: "not_found_error", code: 404 } }];
    return Promise.resolve(new Response(JSON.stringify(body), { status }));
  });
});
afterEach(() => void vi.unstubAllGlobals());

const tags = { models: [{ name: "a:1b" }] };
const listed = { object: "list", data: [{ id: "tiny", object: "model", meta: { size: 7 } }, { id: "" }, 5, { id: "b" }] };
const ofListed = { models: [{ name: "tiny", size: 7 }, { name: "b" }] };

test("Ollama is asked for both lists at once, and for nothing else", async () => {
  answers = { "api/tags": [200, tags], "api/ps": [200, { models: [] }], "v1/models": [200, listed] };
  expect(await holdingsOf("one")).toEqual({ tags, running: { models: [] } });
  expect(asked).toEqual(["api/tags", "api/ps"]);
  expect(dialectOf("one")).toBe("ollama");
});

test.each([
  ["llama.cpp", {}],
  ["llama.cpp with a list of its own under Ollama's path", { "api/tags": [200, { models: [{ name: "tiny" }], ...listed }] }],
  ["LM Studio", { "api/tags": [200, { error: "Unexpected endpoint or method." }], "api/ps": [200, { error: "Unexpected endpoint or method." }] }],
  ["vLLM", { "api/tags": [404, { detail: "Not Found" }] }],
] as [string, typeof answers][])("%s is known by its answers, and then asked in OpenAI's API alone", async (name, also) => {
  answers = { ...also, "v1/models": [200, listed] };
  expect(await holdingsOf(name)).toEqual({ tags: ofListed, running: ofListed });
  expect(dialectOf(name)).toBe("openai");
  asked = [];
  await holdingsOf(name);
  expect(asked).toEqual(["v1/models"]);
  answers = { "api/tags": [200, tags], "api/ps": [200, tags] };
  await expect(holdingsOf(name)).rejects.toThrow(ApiError);
  expect(await holdingsOf(name)).toEqual({ tags, running: tags }); // Ollama stands there now
});

test("a refusal of the relay's is no sign of another server", async () => {
  answers = { "api/tags": [404, { error: "no such device", code: "route_unknown" }], "api/ps": [503, { error: "away", code: "agent_offline" }], "v1/models": [200, listed] };
  await expect(holdingsOf("gone")).rejects.toMatchObject({ fault: { kind: "device_away" } });
  answers["api/tags"] = [503, { error: "away", code: "agent_offline" }];
  await expect(holdingsOf("gone")).rejects.toThrow("away");
  expect(asked).not.toContain("v1/models");
});

test("how a machine is asked stays while its list is asked for, and when that is given up or fails on the way", async () => {
  answers = { "v1/models": [200, listed] };
  await holdingsOf("kept");
  const asking = holdingsOf("kept");
  expect(dialectOf("kept")).toBe("openai");
  await asking;
  answers["v1/models"] = [503, { error: "away", code: "agent_offline" }];
  await expect(holdingsOf("kept")).rejects.toThrow("away");
  vi.stubGlobal("fetch", () => Promise.reject(new DOMException("aborted", "AbortError")));
  await expect(holdingsOf("kept")).rejects.toThrow("aborted");
  expect(dialectOf("kept")).toBe("openai");
});

test("a list that is none is empty", () => {
  for (const value of [null, 5, {}, { data: null }, { data: {} }]) expect(asTags(value)).toEqual({ models: [] });
});
