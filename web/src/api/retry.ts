// Which failed calls are tried again by themselves, and when. Only reads are, and only through what passes: a relay that restarts.
import type { ErrorKind } from "./errors";

const passing: ReadonlySet<ErrorKind> = new Set(["network", "draining", "overloaded", "issuer_unreachable"]);
const first_ms = 250;
const longest_ms = 4000;
/** After this many a person is told; about half a minute in all. */
const tries = 10;

/**
 * How long to wait before the next try, in milliseconds; null: do not try again. `attempt` is 1 after the first failure,
 * `jitter` is from 0 up to 1.
 */
export function retryDelay(attempt: number, fault: { kind: ErrorKind; retryAfterSeconds: number | null }, jitter: number): number | null {
  if (!passing.has(fault.kind) || attempt >= tries) return null;
  const backoff = Math.min(first_ms * 2 ** (attempt - 1), longest_ms);
  const told = fault.retryAfterSeconds === null ? 0 : Math.min(fault.retryAfterSeconds * 1000, longest_ms);
  return Math.max(told, backoff * (0.5 + jitter / 2));
}
