// What goes to `/v1/chat/completions` and what comes back, for a machine whose server speaks OpenAI's API alone.
//
// What that API has no word for stays unsaid: the size of the context, how long a model is kept, whether it thinks.
import { localFault } from "../api/errors";
import type { Counts, Message, ToolCall } from "./conversation";
import { LineError } from "./ndjson";
import { faultIn, type Piece } from "./ollama";
import type { Settings } from "./settings";

type Part = { type: "text"; text: string } | { type: "image_url"; image_url: { url: string } };

export interface CompletionRequest {
  model: string;
  stream: true;
  stream_options: { include_usage: true };
  messages: { role: string; content: string | Part[] }[];
  temperature?: number;
  top_p?: number;
  seed?: number;
}

/** The request that has `messages` answered. */
export function completionRequest(model: string, messages: Message[], settings: Settings): CompletionRequest {
  const request: CompletionRequest = { model, stream: true, stream_options: { include_usage: true }, messages: [] };
  if (settings.system.trim()) request.messages.push({ role: "system", content: settings.system });
  for (const message of messages) request.messages.push({ role: message.role, content: contentOf(message) });
  if (settings.temperature !== null) request.temperature = settings.temperature;
  if (settings.topP !== null) request.top_p = settings.topP;
  if (settings.seed !== null) request.seed = settings.seed;
  return request;
}

function contentOf(message: Message): string | Part[] {
  if (message.role !== "user" || message.images.length === 0) return message.content;
  const images = message.images.map((data): Part => ({ type: "image_url", image_url: { url: `data:${typeOf(data)};base64,${data}` } }));
  return [{ type: "text", text: message.content }, ...images];
}

/** What an image is, by its first bytes in base64. */
function typeOf(data: string): string {
  const types = { "/9j/": "image/jpeg", iVBO: "image/png", R0lG: "image/gif", UklG: "image/webp" };
  return types[data.slice(0, 4) as keyof typeof types] ?? "image/png";
}

/** The data of events out of bytes that come split anywhere; the same promises as `LineParser`, whose place it takes. */
export class EventParser {
  private readonly decoder = new TextDecoder("utf-8");
  private rest = "";
  private data: string[] = [];
  private held_chars = 0;

  constructor(private readonly longest_chars = 8 * 1024 * 1024) {}

  /** The values of the events that `bytes` complete; one of them says that the stream is whole. Throws `LineError` on what is no JSON. */
  push(bytes: Uint8Array): unknown[] {
    return this.take(this.decoder.decode(bytes, { stream: true }));
  }

  /** The value of a last event without an empty line behind it. */
  end(): unknown[] {
    return this.take(`${this.decoder.decode()}\n\n`);
  }

  private take(text: string): unknown[] {
    const values: unknown[] = [];
    let from = 0;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", from)) {
      const line = this.rest + text.slice(from, at);
      this.rest = "";
      from = at + 1;
      this.line(line.endsWith("\r") ? line.slice(0, -1) : line, values);
    }
    this.rest += text.slice(from);
    if (this.rest.length + this.held_chars > this.longest_chars) throw new LineError("an event of the answer is too long");
    return values;
  }

  private line(line: string, values: unknown[]): void {
    if (line.startsWith("data:")) {
      this.data.push(line.slice(5));
      this.held_chars += line.length;
    } else if (line === "" && this.data.length > 0) {
      const data = this.data.join("\n").trim();
      if (data !== "") values.push(parse(data)); // an empty one keeps a connection alive
      this.data = [];
      this.held_chars = 0;
    }
  }
}

/** Most calls of tools in an answer, and the most that one of them may be given. */
const most_calls = 64;
const longest_given_chars = 1_000_000;

/** Reads what the events of one answer say. */
export class CompletionReader {
  private readonly began_ms: number;
  private first_ms: number | null = null;
  private isFinished = false;
  private counts: Counts | null = null;
  private readonly calls: { name: string; given: string }[] = [];

  constructor(private readonly now: () => number) {
    this.began_ms = now();
  }

  /** What is not understood says nothing. */
  read(event: unknown): Piece {
    const piece: Piece = { content: "", thinking: "", toolCalls: [], end: null, fault: null };
    if (event === done) return this.isFinished ? { ...piece, end: { counts: this.counts } } : piece;
    const from = record(event);
    const error = from["error"];
    if (error !== undefined && error !== null) return { ...piece, fault: faultIn(from, text(error) || text(record(error)["message"]) || "the model's server failed") };
    const choice = record(Array.isArray(from["choices"]) ? from["choices"][0] : null);
    const delta = record(choice["delta"]);
    piece.content = text(delta["content"]);
    piece.thinking = text(delta["reasoning_content"]) || text(delta["reasoning"]);
    if (piece.content || piece.thinking) this.first_ms ??= this.now();
    if (Array.isArray(delta["tool_calls"]) && !delta["tool_calls"].every((part, at) => this.call(record(part), at))) {
      return { ...piece, fault: localFault("too_long", `more than ${most_calls} calls, or more than ${longest_given_chars} characters for one`) };
    }
    if (text(choice["finish_reason"]) !== "") {
      this.isFinished = true;
      piece.toolCalls = this.calls.splice(0).filter(Boolean).map(asCall);
    }
    this.count(from);
    return piece;
  }

  /** For when the stream has ended: some servers say nothing more behind the reason for it. */
  end(): Piece {
    return this.read(done);
  }

  /** Adds a part to its call; false when there is no room for it. */
  private call(part: Record<string, unknown>, at: number): boolean {
    const index = typeof part["index"] === "number" ? part["index"] : at;
    if (!Number.isInteger(index) || index < 0) return true;
    if (index >= most_calls) return false;
    const called = record(part["function"]);
    const call = (this.calls[index] ??= { name: "", given: "" });
    call.name = (call.name + text(called["name"])).slice(0, 200);
    call.given += text(called["arguments"]);
    return call.given.length <= longest_given_chars;
  }

  /** Tokens as the server counts them; times by our own clock where it tells none. */
  private count(from: Record<string, unknown>): void {
    const usage = record(from["usage"]);
    const answerTokens = usage["completion_tokens"];
    if (typeof answerTokens !== "number") return;
    const timed = record(from["timings"])["predicted_ms"]; // llama.cpp's
    const measured = this.now() - (this.first_ms ?? this.began_ms);
    this.counts = { promptTokens: number(usage["prompt_tokens"]), answerTokens, answerMs: number(timed) || measured, loadMs: 0, totalMs: this.now() - this.began_ms };
  }
}

const done = Symbol("the end of the stream");

function parse(data: string): unknown {
  if (data === "[DONE]") return done;
  try {
    return JSON.parse(data);
  } catch {
    throw new LineError("an event of the answer is no JSON");
  }
}

function asCall({ name, given }: { name: string; given: string }): ToolCall {
  try {
    return { name, arguments: JSON.parse(given) as unknown };
  } catch {
    return { name, arguments: given };
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}
