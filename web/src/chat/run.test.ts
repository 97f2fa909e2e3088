import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { holdingsOf } from "../api/engine";
import { branch, newConversation, reduce, type Answer, type Conversation, type Event } from "./conversation";
import { longest_chars, most_calls, run, runningAnswers, stop, type Job } from "./run";
import { defaults } from "./settings";

const choice = { device: "my desk", model: "demo" };
let conversation: Conversation;
let events: Event[];
let frames: (() => void)[];
let asked: { url: string; init: RequestInit }[];
let send: ReadableStreamDefaultController<Uint8Array>;

const listener = (event: Event): void => {
  events.push(event);
  conversation = reduce(conversation, event);
};
const frame = (callback: () => void): void => void frames.push(callback);
const line = (value: object): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value)}\n`);
const piece = (content: string): Uint8Array => line({ message: { role: "assistant", content }, done: false });
const end = line({ message: { content: "" }, done: true, eval_count: 2, eval_duration: 1e9, prompt_eval_count: 5 });
const answer = (): Answer => branch(conversation).at(-1) as Answer;
const kinds = (): string[] => events.map(({ type }) => type);

function job(): Job {
  conversation = newConversation("c", 0, choice);
  listener({ type: "asked", id: "q", parent: null, content: "Hi", images: ["QUJD"], atMs: 0 });
  listener({ type: "answering", id: "a", parent: "q", choice, atMs: 0 });
  events.length = 0;
  return { answer: "a", choice, messages: branch(conversation, "q"), settings: { ...defaults, system: "Be brief.", temperature: 0, keepAlive: "60", think: "on" } };
}

/** A relay that answers with a stream that `send` writes to, and that breaks when the fetch is aborted. */
function relay(): void {
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    asked.push({ url, init });
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        send = controller;
        init.signal!.addEventListener("abort", () => controller.error(new DOMException("aborted", "AbortError")));
      },
    });
    return Promise.resolve(new Response(body));
  });
}

/** Waits for what is under way without any clock. */
async function settled(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !condition(); turn++) await Promise.resolve();
  expect(condition()).toBe(true);
}

beforeAll(async () => {
  vi.stubGlobal("fetch", () => Promise.resolve(Response.json({ models: [] })));
  await holdingsOf(choice.device); // so that each test begins with the question
});
beforeEach(() => {
  events = [];
  frames = [];
  asked = [];
  relay();
});
afterEach(() => void vi.unstubAllGlobals());

test("the model is asked as Ollama expects it, on the device that was chosen", async () => {
  const running = run(job(), listener, frame);
  await settled(() => asked.length === 1);
  send.enqueue(end);
  send.close();
  await running;
  expect(asked[0]!.url).toBe("/web/v1/devices/my%20desk/api/chat");
  expect(JSON.parse(asked[0]!.init.body as string)).toEqual({
    model: "demo",
    stream: true,
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hi", images: ["QUJD"] },
    ],
    options: { temperature: 0 },
    keep_alive: 60,
    think: true,
  });
});

test("a machine that speaks OpenAI's API alone is asked in it, and its answer shown", async () => {
  const data = (value: object): Uint8Array => new TextEncoder().encode(`data: ${JSON.stringify(value)}\n\n`);
  const said = (delta: object, finish_reason: string | null = null): Uint8Array => data({ choices: [{ delta, finish_reason }] });
  relay();
  const chat = fetch;
  // Nobody has asked it for its list yet: the conversation remembered the model.
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    if (url.endsWith("v1/models")) return Promise.resolve(Response.json({ data: [{ id: "demo" }] }));
    return url.endsWith("chat/completions") ? chat(url, init) : Promise.resolve(Response.json({}, { status: 404 }));
  });
  const running = run({ ...job(), choice: { device: "other desk", model: "demo" } }, listener, frame);
  await vi.waitFor(() => expect(asked.length).toBe(1));
  send.enqueue(said({ content: "Hi" }));
  send.enqueue(said({}, "stop"));
  send.enqueue(data({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 2 } }));
  send.close();
  await running;
  expect(asked[0]!.url).toBe("/web/v1/devices/other%20desk/v1/chat/completions");
  expect(JSON.parse(asked[0]!.init.body as string)).toMatchObject({ model: "demo", stream: true, temperature: 0 });
  expect(kinds()).toEqual(["came", "finished"]);
  expect(answer()).toMatchObject({ content: "Hi", counts: { promptTokens: 5, answerTokens: 2 } });
});

test("what comes between two frames is shown once", async () => {
  const running = run(job(), listener, frame);
  await settled(() => asked.length === 1);
  for (const word of ["a", "b", "c"]) send.enqueue(piece(word));
  await settled(() => frames.length === 1);
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
  expect(frames.length).toBe(1);
  expect(events).toEqual([]);
  frames.shift()!();
  expect(answer().content).toBe("abc");
  send.enqueue(piece("d"));
  send.enqueue(end);
  send.close();
  await running;
  expect(kinds()).toEqual(["came", "came", "finished"]);
  expect(answer()).toMatchObject({ content: "abcd", counts: { answerTokens: 2, answerMs: 1000, promptTokens: 5 } });
  expect(runningAnswers.value.size).toBe(0);
});

test("a stop aborts the fetch, and keeps what came", async () => {
  const running = run(job(), listener, frame);
  await settled(() => asked.length === 1);
  send.enqueue(piece("some"));
  await settled(() => frames.length === 1);
  stop("a");
  await running;
  expect(asked[0]!.init.signal!.aborted).toBe(true);
  expect(kinds()).toEqual(["came", "stopped"]);
  expect(answer().content).toBe("some");
});

test("a stream that breaks, or ends without saying so, is torn", async () => {
  for (const tear of [() => send.error(new TypeError("network error")), () => send.close()]) {
    asked = [];
    events = [];
    const running = run(job(), listener, frame);
    await settled(() => asked.length === 1);
    send.enqueue(piece("half"));
    await settled(() => frames.length > 0);
    tear();
    await running;
    expect(answer()).toMatchObject({ content: "half", progress: { phase: "failed", fault: { kind: "torn" } } });
  }
});

test("an error in the stream is told by its kind, after what came before it", async () => {
  const running = run(job(), listener, frame);
  await settled(() => asked.length === 1);
  send.enqueue(piece("half"));
  send.enqueue(line({ error: "the session ended", code: "agent_lost", request_id: "r-1" }));
  await running;
  expect(kinds()).toEqual(["came", "failed"]);
  expect(answer().progress).toMatchObject({ phase: "failed", fault: { kind: "agent_lost", requestId: "r-1" } });
});

test("a refusal is told by its kind, and a question is never sent twice by itself", async () => {
  let count = 0;
  vi.stubGlobal("fetch", () => {
    count++;
    return Promise.resolve(new Response(JSON.stringify({ error: "too slow", code: "timeout" }), { status: 504 }));
  });
  await run(job(), listener, frame);
  expect(count).toBe(1);
  expect(answer().progress).toMatchObject({ phase: "failed", fault: { kind: "timeout", status: 504 } });
});

test("an answer that does not end is stopped at its bound, keeps what came, and can be continued", async () => {
  const part = "x".repeat(1_000_000);
  const running = run(job(), listener, frame);
  await settled(() => asked.length === 1);
  send.enqueue(line({ message: { role: "assistant", thinking: part }, done: false }));
  for (let turn = 0; turn < 4; turn++) send.enqueue(piece(part + (turn === 2 ? "" : "y")));
  await running;
  expect(asked[0]!.init.signal!.aborted).toBe(true);
  expect(answer().progress).toMatchObject({ phase: "failed", fault: { kind: "too_long" } });
  expect(answer().thinking.length + answer().content.length).toBe(longest_chars);
  expect(answer().content.startsWith(`${part}y`)).toBe(true);

  listener({ type: "resumed", id: "a", atMs: 1, keep: true });
  const again = run({ answer: "a", choice, messages: branch(conversation, "a"), settings: defaults }, listener, frame);
  await settled(() => asked.length === 2);
  send.enqueue(piece("the rest"));
  send.enqueue(end);
  send.close();
  await again;
  expect(answer().progress).toEqual({ phase: "done" });
  expect(answer().content.endsWith("the rest")).toBe(true);
});

test("calls of tools have a bound, and so has what they are called with", async () => {
  const calls = (count: number, text: string) => line({ message: { tool_calls: Array.from({ length: count }, () => ({ function: { name: "f", arguments: { text } } })) }, done: false });
  for (const [batches, taken] of [[[calls(most_calls, "a"), calls(1, "b")], most_calls], [[calls(5, "x".repeat(longest_chars / 4))], 3]] as const) {
    asked = [];
    const running = run(job(), listener, frame);
    await settled(() => asked.length === 1);
    for (const batch of batches) send.enqueue(batch);
    await running;
    expect(answer().toolCalls.length).toBe(taken);
    expect(answer().progress).toMatchObject({ phase: "failed", fault: { kind: "too_long" } });
  }
  const running = run(job(), listener, frame);
  await settled(() => asked.length === 2);
  send.enqueue(calls(most_calls, "a"));
  send.enqueue(end);
  send.close();
  await running;
  expect(answer()).toMatchObject({ progress: { phase: "done" }, toolCalls: { length: most_calls } });
});
