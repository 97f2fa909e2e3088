// Asks again and again for as long as somebody looks. Never twice at once; after a failure less and less often.
//
// Without a browser: whether the page is visible is told to it.

export interface PollerOptions {
  every_ms: number;
  /** One question. What it rejects with goes to `failed`. */
  ask: (signal: AbortSignal) => Promise<void>;
  /** Is told of each failure, and with null of each success. */
  outcome: (error: unknown) => void;
  /** From 0 up to 1. */
  chance?: () => number;
}

const longest_ms = 30_000;

export class Poller {
  private isActive = false;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private under_way: AbortController | null = null;

  constructor(private readonly options: PollerOptions) {}

  /** Begins at once, or stops, giving up a question that is under way. */
  setActive(isActive: boolean): void {
    if (isActive === this.isActive) return;
    this.isActive = isActive;
    if (isActive) return void this.ask();
    clearTimeout(this.timer);
    this.under_way?.abort();
    this.under_way = null;
  }

  /** Asks now rather than later, unless it is stopped. A question that is under way may be older than its reason: it is given up. */
  refresh(): void {
    if (!this.isActive) return;
    this.setActive(false);
    this.failures = 0;
    this.setActive(true);
  }

  private async ask(): Promise<void> {
    const under_way = new AbortController();
    this.under_way = under_way;
    let error: unknown = null;
    try {
      await this.options.ask(under_way.signal);
    } catch (thrown) {
      error = thrown ?? new Error("failed");
    }
    if (this.under_way !== under_way) return; // given up
    this.under_way = null;
    this.failures = error === null ? 0 : this.failures + 1;
    this.options.outcome(error);
    // What was told may have stopped it.
    if (this.isActive && this.under_way === null) this.timer = setTimeout(() => void this.ask(), this.delay());
  }

  private delay(): number {
    const { every_ms, chance = Math.random } = this.options;
    if (this.failures === 0) return every_ms;
    return Math.min(every_ms * 2 ** this.failures, Math.max(longest_ms, every_ms)) * (0.5 + chance() / 2);
  }
}
