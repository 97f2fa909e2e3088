// Answers under way. Each is one fetch that is aborted to stop it: the relay then drops its stream, and Ollama stops generating.
//
// Invariant: what comes is shown at most once a frame, and whatever ends an answer says so in the conversation, exactly once. No more
// is taken than a bound: a model that never ends fills no browser.
import { signal } from "@preact/signals";
import { isAbort, open } from "../api/client";
import { dialectOf, learnDialect } from "../api/engine";
import { ApiError, localFault, type Fault } from "../api/errors";
import type { Event, Message, ModelChoice, ToolCall } from "./conversation";
import { LineError, LineParser } from "./ndjson";
import { chatRequest, readPiece, type Piece } from "./ollama";
import { CompletionReader, completionRequest, EventParser } from "./openai";
import type { Settings } from "./settings";

export interface Job {
  /** The answer that is filled. */
  answer: string;
  choice: ModelChoice;
  messages: Message[];
  settings: Settings;
}

/** Told what happens to the answer. */
export type Listener = (event: Event) => void;
/** Calls back once, soon, and not more often than the screen is drawn. */
export type Frame = (callback: () => void) => void;

/** Most that one answer brings: text, thoughts and what tools are called with, in all; and how many calls. */
export const longest_chars = 4_000_000;
export const most_calls = 64;

const running = new Map<string, AbortController>();
/** The answers under way, for whoever shows them. */
export const runningAnswers = signal<ReadonlySet<string>>(new Set());

/** Has the model answer; resolves when that has ended, however it did. Never rejects. */
export async function run(job: Job, listener: Listener, frame: Frame = nextFrame): Promise<void> {
  const abort = new AbortController();
  running.set(job.answer, abort);
  runningAnswers.value = new Set(running.keys());
  const pieces = new Gathered(job.answer, listener, frame);
  try {
    const counts = await receive(job, abort.signal, pieces);
    pieces.flush();
    listener({ type: "finished", id: job.answer, counts, atMs: Date.now() });
  } catch (error) {
    pieces.flush();
    if (isAbort(error)) listener({ type: "stopped", id: job.answer, atMs: Date.now() });
    else listener({ type: "failed", id: job.answer, fault: faultOfError(error), atMs: Date.now() });
  } finally {
    abort.abort(); // lets go of a body that was not read to its end
    running.delete(job.answer);
    runningAnswers.value = new Set(running.keys());
  }
}

/** Stops an answer, if it is under way. */
export function stop(answer: string): void {
  running.get(answer)?.abort();
}

async function receive(job: Job, signal: AbortSignal, pieces: Gathered): Promise<NonNullable<Piece["end"]>["counts"]> {
  await learnDialect(job.choice.device, signal); // a model is remembered, and may be asked before any list has come
  signal.throwIfAborted();
  const { path, body, parser, read, whole } = wayTo(job);
  const response = await open(`devices/${encodeURIComponent(job.choice.device)}/${path}`, { method: "POST", body, signal });
  const reader = response.body!.getReader();
  let end: Piece["end"] = null;
  const take = (values: unknown[]): void => {
    for (const piece of values.map(read)) {
      const isWhole = pieces.add(piece);
      if (!isWhole) throw new ApiError(localFault("too_long", `more than ${longest_chars} characters or ${most_calls} calls`));
      if (piece.fault) throw new ApiError(piece.fault);
      end = piece.end ?? end;
    }
  };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    take(parser.push(value));
  }
  take(parser.end());
  end ??= whole();
  if (!end) throw new ApiError(localFault("torn", "the answer ended without saying so"));
  return (end as NonNullable<Piece["end"]>).counts;
}

/** How a machine is asked, and how what it says is read. `whole` is for the end of a stream that has not said that it is its end. */
interface Way {
  path: string;
  body: unknown;
  parser: { push(bytes: Uint8Array): unknown[]; end(): unknown[] };
  read: (value: unknown) => Piece;
  whole: () => Piece["end"];
}

function wayTo({ choice, messages, settings }: Job): Way {
  if (dialectOf(choice.device) === "ollama") {
    return { path: "api/chat", body: chatRequest(choice.model, messages, settings), parser: new LineParser(), read: readPiece, whole: () => null };
  }
  const reader = new CompletionReader(() => Date.now());
  const body = completionRequest(choice.model, messages, settings);
  return { path: "v1/chat/completions", body, parser: new EventParser(), read: (value) => reader.read(value), whole: () => reader.end().end };
}

/** What a person is told of an answer that failed. A stream that breaks is torn, not unreachable. */
function faultOfError(error: unknown): Fault {
  if (error instanceof ApiError) return error.fault;
  if (error instanceof LineError) return localFault("torn", error.message);
  return localFault("torn", error instanceof Error ? error.message : String(error));
}

/** Puts together what comes between two frames. */
class Gathered {
  private content = "";
  private thinking = "";
  private toolCalls: ToolCall[] = [];
  private isAsked = false;
  private room_chars = longest_chars;
  private room_calls = most_calls;

  constructor(
    private readonly id: string,
    private readonly listener: Listener,
    private readonly frame: Frame,
  ) {}

  /** False when there was room for a part of it alone, which is taken. */
  add({ content, thinking, toolCalls }: Piece): boolean {
    if (!content && !thinking && toolCalls.length === 0) return true;
    this.thinking += this.fitting(thinking);
    this.content += this.fitting(content);
    const calls = toolCalls.filter((call) => this.fits(call));
    this.toolCalls.push(...calls);
    if (!this.isAsked) {
      this.isAsked = true;
      this.frame(() => this.flush());
    }
    return this.room_chars >= 0 && calls.length === toolCalls.length;
  }

  /** The part of a text for which there is room. */
  private fitting(text: string): string {
    const part = text.slice(0, Math.max(0, this.room_chars));
    this.room_chars -= text.length;
    return part;
  }

  /** A call is taken whole, or not at all. */
  private fits(call: ToolCall): boolean {
    const chars = JSON.stringify(call).length;
    if (this.room_calls === 0 || chars > this.room_chars) return false;
    this.room_calls -= 1;
    this.room_chars -= chars;
    return true;
  }

  flush(): void {
    this.isAsked = false;
    if (!this.content && !this.thinking && this.toolCalls.length === 0) return;
    const { id, content, thinking, toolCalls } = this;
    this.content = this.thinking = "";
    this.toolCalls = [];
    this.listener({ type: "came", id, content, thinking, toolCalls, atMs: Date.now() });
  }
}

/** The next frame; in a tab that is not shown, where there are none, a moment later. */
function nextFrame(callback: () => void): void {
  if (document.visibilityState === "visible") requestAnimationFrame(callback);
  else setTimeout(callback, 200);
}
