// The recent requests as the page keeps them, without a browser: merged by their numbers, filtered, and counted by the minute.
//
// Invariant: bounded by number and by age, however long the page stays open.
import type { components } from "../relay";

export type Request = components["schemas"]["Request"];
export interface Answer {
  requests: Request[];
  next: number;
  now_unix_ms: number;
}

export interface Recent {
  /** Newest first. */
  requests: Request[];
  /** Where the next question goes on. */
  next: number;
  /** What the relay's clock is ahead of ours. */
  ahead_ms: number;
}

export const nothing: Recent = { requests: [], next: 0, ahead_ms: 0 };

export const hour_ms = 3_600_000;
const minute_ms = 60_000;
const most = 1000;

/** With what has come since: an entry that is known is replaced by its newer self. */
export function merge(known: Recent, answer: Answer, now_ms: number): Recent {
  const bySeq = new Map(known.requests.map((request) => [request.seq, request]));
  for (const request of answer.requests) bySeq.set(request.seq, request);
  const oldest_ms = answer.now_unix_ms - hour_ms;
  const requests = [...bySeq.values()]
    .filter((request) => isRunning(request) || request.started_unix_ms >= oldest_ms)
    .sort((a, b) => b.seq - a.seq)
    .slice(0, most);
  return { requests, next: answer.next, ahead_ms: answer.now_unix_ms - now_ms };
}

/**
 * Which of the known that run were not told of again: their relay is gone, or has forgotten them. They run no more, as far as anybody
 * knows, and are left out.
 */
export function withoutLost(known: Recent, answer: Answer): Recent {
  const told = new Set(answer.requests.map((request) => request.seq));
  return { ...known, requests: known.requests.filter((request) => !isRunning(request) || told.has(request.seq)) };
}

export interface Filter {
  text: string;
  /** Empty: all. */
  device: string;
  onlyFailures: boolean;
}

export const noFilter: Filter = { text: "", device: "", onlyFailures: false };

/** What the filter lets through: every word of its text stands somewhere in the row. */
export function filtered(requests: Request[], filter: Filter): Request[] {
  const words = filter.text.toLowerCase().split(/\s+/).filter((word) => word !== "");
  return requests.filter((request) => {
    if (filter.device !== "" && request.device !== filter.device) return false;
    if (filter.onlyFailures && !isFailed(request)) return false;
    if (words.length === 0) return true;
    const { method, route, model, device, status, error, id, credential } = request;
    const row = [method, route, model, device, status, error, id, credential].filter((part) => part !== null).join(" ").toLowerCase();
    return words.every((word) => row.includes(word));
  });
}

export function isRunning(request: Request): boolean {
  return request.duration_ms === null;
}

/** A caller who leaves has made no failure. */
export function isFailed(request: Request): boolean {
  return (request.error !== null && request.error !== "caller_gone") || (request.status ?? 0) >= 400;
}

export type Outcome = { text: string; tone: "good" | "bad" | "warn" | "none" };

/** How it ended, or that it has not. */
export function outcomeOf(request: Request): Outcome {
  if (request.error === "caller_gone") return { text: "stopped", tone: "none" };
  if (isFailed(request)) return { text: request.status === null ? "failed" : String(request.status), tone: "bad" };
  if (isRunning(request)) return { text: request.status === null ? "waiting" : "streaming", tone: "warn" };
  return { text: String(request.status ?? "ended"), tone: "good" };
}

/** What a piece is, where the word alone stands. */
export const pieceMeans = "Pieces in which the answer came: about one a token where it is streamed. Tokens are not counted: nobody reads the answer on its way.";

/** Pieces a second of a streamed answer, which is about tokens a second; null when there is nothing to divide. */
export function rateOf(request: Request, now_ms: number): number | null {
  const { chunks, first_byte_ms } = request;
  if (chunks === null || chunks < 2 || first_byte_ms === null) return null;
  const whole_ms = request.duration_ms ?? now_ms - request.started_unix_ms;
  const streamed_ms = whole_ms - first_byte_ms;
  return streamed_ms > 0 ? (chunks * 1000) / streamed_ms : null;
}

export interface Minute {
  /** Its beginning, in milliseconds since 1970. */
  from_ms: number;
  good: number;
  failed: number;
}

/** The last hour in sixty minutes, the present one last, by when requests began. */
export function lastHour(requests: Request[], now_ms: number): Minute[] {
  const present = Math.floor(now_ms / minute_ms);
  const minutes: Minute[] = Array.from({ length: 60 }, (_, at) => ({ from_ms: (present - 59 + at) * minute_ms, good: 0, failed: 0 }));
  for (const request of requests) {
    const minute = minutes[Math.floor(request.started_unix_ms / minute_ms) - present + 59];
    if (!minute) continue;
    if (isFailed(request)) minute.failed++;
    else minute.good++;
  }
  return minutes;
}

/** The top of the plot's scale: a round number that no minute is above. */
export function scaleOf(minutes: Minute[]): number {
  const highest = Math.max(0, ...minutes.map((minute) => minute.good + minute.failed));
  for (let power = 1; ; power *= 10) {
    for (const round of [4, 10, 20]) {
      if (highest <= round * power) return round * power;
    }
  }
}

/** The devices that there are requests of, by name. */
export function devicesOf(requests: Request[]): string[] {
  return [...new Set(requests.map((request) => request.device).filter((device): device is string => device !== null))].sort();
}
