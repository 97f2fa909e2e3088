// Whether the relay answers. While it does not, it is asked again by itself: first soon, then less often, never in step with other pages.
//
//   answering ── no answer, or one of something in between ──▶ lost ── any answer of the relay's ──▶ answering
//
// Without a browser, so that it can be tested: time, chance and the question come from outside.
import type { ErrorKind, Fault } from "./errors";

export type Reach =
  | { phase: "answering" }
  /** `next_ms` is when it is asked again, by the clock given; null while a question is under way. */
  | { phase: "lost"; since_ms: number; next_ms: number | null };

export interface Surroundings {
  /** Asks the relay anything; resolves to whether it answered, and never rejects. */
  ask: () => Promise<boolean>;
  now: () => number;
  /** From 0 up to 1. */
  chance: () => number;
  changed: (reach: Reach) => void;
}

const first_ms = 1000;
const longest_ms = 20_000;

/** How long until the question after this many without an answer, in milliseconds: at least half of what doubles. */
export function probeDelay(unanswered: number, jitter: number): number {
  return Math.min(first_ms * 2 ** unanswered, longest_ms) * (0.5 + jitter / 2);
}

/** True when a failure says nothing but that the relay itself was not reached. */
export function isUnreached(fault: Pick<Fault, "kind" | "status">): boolean {
  const away: ReadonlySet<ErrorKind> = new Set(["network", "draining"]);
  // A gateway before the relay answers in its place, in words that are not ours.
  return away.has(fault.kind) || (fault.kind === "unreadable" && (fault.status ?? 0) >= 500);
}

export class Reachability {
  private reach: Reach = { phase: "answering" };
  private unanswered = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly around: Surroundings) {}

  /** The relay has answered something, be it a refusal. */
  answered(): void {
    if (this.reach.phase === "answering") return;
    clearTimeout(this.timer);
    this.unanswered = 0;
    this.become({ phase: "answering" });
  }

  /** A call was not answered. Only the first one counts: from then on the questions are ours. */
  lost(): void {
    if (this.reach.phase === "lost") return;
    this.wait(this.around.now());
  }

  /** Asks at once, if the relay is lost and no question is under way. */
  askNow(): void {
    if (this.reach.phase === "lost" && this.reach.next_ms !== null) void this.ask(this.reach.since_ms);
  }

  private wait(since_ms: number): void {
    const delay_ms = probeDelay(this.unanswered, this.around.chance());
    this.timer = setTimeout(() => void this.ask(since_ms), delay_ms);
    this.become({ phase: "lost", since_ms, next_ms: this.around.now() + delay_ms });
  }

  private async ask(since_ms: number): Promise<void> {
    clearTimeout(this.timer);
    this.become({ phase: "lost", since_ms, next_ms: null });
    const isAnswered = await this.around.ask();
    if (this.reach.phase === "answering") return; // something else was answered meanwhile
    if (isAnswered) return this.answered();
    this.unanswered++;
    this.wait(since_ms);
  }

  private become(reach: Reach): void {
    this.reach = reach;
    this.around.changed(reach);
  }
}
