import { expect, test } from "vitest";
import type { Message } from "./conversation";
import { LineError } from "./ndjson";
import { CompletionReader, completionRequest, EventParser } from "./openai";
import { defaults } from "./settings";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const question = (content: string, images: string[] = []): Message => ({ id: "q", parent: null, role: "user", content, images, atMs: 0 }) as unknown as Message;
const answer = (content: string): Message => ({ id: "a", parent: "q", role: "assistant", content, toolCalls: [{ name: "f", arguments: {} }] }) as unknown as Message;
const delta = (delta: object, finish_reason: string | null = null): object => ({ choices: [{ index: 0, delta, finish_reason }] });

test("the request says what OpenAI's API has a word for", () => {
  const settings = { ...defaults, system: "Be brief.", temperature: 0, seed: 7, contextTokens: 4096, keepAlive: "1h" };
  expect(completionRequest("m", [question("Hi"), answer("Hello"), question("This?", ["iVBORw0", "/9j/4AA"])], settings)).toEqual({
    model: "m",
    stream: true,
    stream_options: { include_usage: true },
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Hello" },
      {
        role: "user",
        content: [
          { type: "text", text: "This?" },
          { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0" } },
          { type: "image_url", image_url: { url: "data:image/jpeg;base64,/9j/4AA" } },
        ],
      },
    ],
    temperature: 0,
    seed: 7,
  });
});

test("events are the same wherever the bytes are cut", () => {
  const stream = utf8(': hello\r\n\r\ndata: {"a":"ä\\n"}\r\n\r\nevent: x\nid: 3\ndata: {"b":\ndata: 2}\n\n\n\ndata:{"c":3}');
  for (let size = 1; size <= stream.length; size++) {
    const parser = new EventParser();
    const values: unknown[] = [];
    for (let at = 0; at < stream.length; at += size) values.push(...parser.push(stream.slice(at, at + size)));
    expect([...values, ...parser.end()]).toEqual([{ a: "ä\n" }, { b: 2 }, { c: 3 }]);
  }
});

test("an event that is no JSON, or has no end, is an error", () => {
  expect(() => new EventParser().push(utf8("data: <html>\n\n"))).toThrow(LineError);
  const parser = new EventParser(100);
  expect(() => Array.from({ length: 20 }, () => parser.push(utf8("data: 12345\n")))).toThrow(LineError);
  expect(() => new EventParser(100).push(utf8(`data: ${"x".repeat(101)}`))).toThrow(LineError);
});

/** What a stream says in all, and its end. */
function read(stream: string, now = () => 0) {
  const parser = new EventParser();
  const reader = new CompletionReader(now);
  const pieces = [...parser.push(utf8(stream)), ...parser.end()].map((event) => reader.read(event));
  return { pieces, end: pieces.find(({ end }) => end)?.end ?? null, whole: reader.end().end };
}
const events = (...values: object[]): string => values.map((value) => `data: ${JSON.stringify(value)}\n\n`).join("");

test("an answer with thoughts, counts and times", () => {
  const usage = { choices: [], usage: { prompt_tokens: 22, completion_tokens: 4 } };
  const said = [delta({ role: "assistant", content: null }), delta({ reasoning_content: "hm" }), delta({ content: "O" }), delta({ content: "K" }), delta({}, "stop")];
  const stream = `${events(...said, { ...usage, timings: { predicted_ms: 8.5 } })}data: [DONE]\n\n`;
  const { pieces, end } = read(stream);
  expect(pieces.map(({ content }) => content).join("")).toBe("OK");
  expect(pieces.map(({ thinking }) => thinking).join("")).toBe("hm");
  expect(end).toEqual({ counts: { promptTokens: 22, answerTokens: 4, answerMs: 8.5, loadMs: 0, totalMs: 0 } });

  let clock = 0; // a second passes whenever somebody looks
  expect(read(`${events(...said, usage)}data: [DONE]\n\n`, () => (clock += 1000)).end?.counts).toMatchObject({ answerTokens: 4, answerMs: 1000 });
});

test("an answer is whole when the server gave a reason for its end, and torn otherwise", () => {
  expect(read(events(delta({ content: "O" }), delta({}, "length"))).whole).toEqual({ counts: null });
  expect(read(events(delta({ content: "O" }))).whole).toBeNull();
  expect(read(`${events(delta({ content: "O" }))}data: [DONE]\n\n`).end).toBeNull();
});

test("calls of tools are put together from their parts", () => {
  const part = (index: number, called: object): object => delta({ tool_calls: [{ index, function: called }] });
  const { pieces } = read(events(part(0, { name: "weather", arguments: "" }), part(0, { arguments: '{"city":' }), part(2, { name: "b", arguments: "{" }), part(0, { arguments: '"Paris"}' }), part(0.5, { name: "c" }), delta({}, "tool_calls")));
  expect(pieces.flatMap(({ toolCalls }) => toolCalls)).toEqual([{ name: "weather", arguments: { city: "Paris" } }, { name: "b", arguments: "{" }]);
});

test("calls without a number are as many as stand beside each other", () => {
  const two = delta({ tool_calls: [{ function: { name: "a", arguments: "1" } }, { function: { name: "b", arguments: "2" } }] });
  expect(read(events(two, delta({}, "tool_calls"))).pieces.flatMap(({ toolCalls }) => toolCalls)).toEqual([{ name: "a", arguments: 1 }, { name: "b", arguments: 2 }]);
});

test("too many calls, and too long ones, end the answer", () => {
  const reader = new CompletionReader(() => 0);
  expect(reader.read(delta({ tool_calls: [{ index: 64, function: { name: "c" } }] })).fault).toMatchObject({ kind: "too_long" });
  const long = delta({ tool_calls: [{ index: 0, function: { arguments: "x".repeat(600_000) } }] });
  expect(reader.read(long).fault).toBeNull();
  expect(reader.read(long).fault).toMatchObject({ kind: "too_long" });
});

test("an empty reason is none, and an empty event says nothing", () => {
  expect(read(`${events(delta({ content: "O" }, ""))}data:\n\n`).whole).toBeNull();
});

test("a failure in the stream is told with what the relay or the server says of it", () => {
  const lost = { error: { message: "the connection ended", type: "server_error" }, code: "agent_lost", request_id: "r-1" };
  expect(read(events(lost)).pieces[0]!.fault).toMatchObject({ kind: "agent_lost", message: "the connection ended", requestId: "r-1" });
  expect(read(events({ error: { message: "no room", code: 500 } })).pieces[0]!.fault).toMatchObject({ kind: "upstream", message: "no room" });
  expect(read(events({ error: "no room" })).pieces[0]!.fault).toMatchObject({ kind: "upstream", message: "no room" });
});

test("nonsense says nothing", () => {
  for (const event of [null, 5, [], { choices: 5 }, { choices: [null] }, { choices: [{ delta: { content: 5, tool_calls: [null, 3, { index: -1 }, { index: "x" }] } }] }]) {
    expect(new CompletionReader(() => 0).read(event)).toMatchObject({ content: "", thinking: "", end: null, fault: null });
  }
});
