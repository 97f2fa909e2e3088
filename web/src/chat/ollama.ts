// What goes to `/api/chat` and what comes back, as Ollama means it.
import { isKind, localFault, type Fault } from "../api/errors";
import type { Counts, Message, ToolCall } from "./conversation";
import type { Settings } from "./settings";

export interface ChatRequest {
  model: string;
  stream: true;
  messages: { role: string; content: string; images?: string[]; tool_calls?: unknown[] }[];
  options?: Record<string, number>;
  keep_alive?: string | number;
  think?: boolean | string;
}

/** The request that has `messages` answered. A partial answer at their end is continued by the model. */
export function chatRequest(model: string, messages: Message[], settings: Settings): ChatRequest {
  const request: ChatRequest = { model, stream: true, messages: [] };
  if (settings.system.trim()) request.messages.push({ role: "system", content: settings.system });
  for (const message of messages) request.messages.push(asSent(message));
  const options = optionsOf(settings);
  if (Object.keys(options).length > 0) request.options = options;
  const keepAlive = settings.keepAlive.trim();
  if (keepAlive) request.keep_alive = /^-?\d+$/.test(keepAlive) ? Number(keepAlive) : keepAlive;
  if (settings.think !== "default") request.think = settings.think === "on" ? true : settings.think === "off" ? false : settings.think;
  return request;
}

function asSent(message: Message): ChatRequest["messages"][number] {
  if (message.role === "user") return { role: "user", content: message.content, ...(message.images.length ? { images: message.images } : {}) };
  const calls = message.toolCalls.map(({ name, arguments: given }) => ({ function: { name, arguments: given } }));
  return { role: "assistant", content: message.content, ...(calls.length ? { tool_calls: calls } : {}) };
}

function optionsOf(settings: Settings): Record<string, number> {
  const all = { temperature: settings.temperature, top_p: settings.topP, num_ctx: settings.contextTokens, seed: settings.seed };
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, number] => entry[1] !== null));
}

export interface Piece {
  content: string;
  thinking: string;
  toolCalls: ToolCall[];
  /** Set by the last piece. */
  end: { counts: Counts | null } | null;
  /** Set when the stream says that it failed. */
  fault: Fault | null;
}

/** What one line of the stream says. What is not understood in it says nothing. */
export function readPiece(line: unknown): Piece {
  const from = record(line);
  const piece: Piece = { content: "", thinking: "", toolCalls: [], end: null, fault: null };
  if (typeof from["error"] === "string") return { ...piece, fault: faultIn(from, from["error"]) };
  const message = record(from["message"]);
  piece.content = text(message["content"]);
  piece.thinking = text(message["thinking"]);
  if (Array.isArray(message["tool_calls"])) piece.toolCalls = message["tool_calls"].slice(0, 64).map(readCall);
  if (from["done"] === true) piece.end = { counts: readCounts(from) };
  return piece;
}

/** The fault that a line or event tells. */
export function faultIn(from: Record<string, unknown>, message: string): Fault {
  const code = from["code"];
  const requestId = typeof from["request_id"] === "string" ? from["request_id"] : null;
  return { ...localFault(isKind(code) ? code : "upstream", message.slice(0, 2000)), requestId };
}

function readCall(call: unknown): ToolCall {
  const called = record(record(call)["function"]);
  return { name: text(called["name"]).slice(0, 200), arguments: called["arguments"] ?? {} };
}

function readCounts(from: Record<string, unknown>): Counts | null {
  if (typeof from["eval_count"] !== "number") return null;
  const ms = (name: string): number => number(from[name]) / 1e6; // nanoseconds there
  return {
    promptTokens: number(from["prompt_eval_count"]),
    answerTokens: number(from["eval_count"]),
    answerMs: ms("eval_duration"),
    loadMs: ms("load_duration"),
    totalMs: ms("total_duration"),
  };
}

/** Tokens a second of an answer; null when that cannot be said. */
export function tokensPerSecond(counts: Counts): number | null {
  return counts.answerTokens > 0 && counts.answerMs > 0 ? counts.answerTokens / (counts.answerMs / 1000) : null;
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
