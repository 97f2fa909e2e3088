// What a screen reader is told of an answer: that it has begun, its blocks as they are finished, and how it ended. Never single tokens,
// and never more often than it can be listened to.
import type { Progress } from "./conversation";

const every_ms = 3000;
const longest_chars = 600;

export class Announcer {
  private told = 0;
  private phase: Progress["phase"] | null = null;
  private waiting: string[] = [];
  private timer: ReturnType<typeof setTimeout> | null = null;

  /** `say` puts a text where a screen reader finds it. */
  constructor(private readonly say: (text: string) => void) {}

  /** Takes an answer as it is now: its text and where it stands. */
  update(text: string, progress: Progress["phase"]): void {
    if (progress !== this.phase) this.enter(progress, text);
    this.phase = progress;
    if (progress === "streaming") this.tell(text, text.lastIndexOf("\n\n"));
  }

  /** Forgets the answer, as when another one is shown. */
  reset(): void {
    this.told = 0;
    this.phase = null;
    this.waiting = [];
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  private enter(progress: Progress["phase"], text: string): void {
    const wasRunning = this.phase === "waiting" || this.phase === "streaming";
    if (progress === "waiting") {
      this.reset();
      this.queue("The model was asked.");
    } else if (wasRunning && progress !== "streaming") {
      this.tell(text, text.length);
      this.queue({ done: "Answer complete.", stopped: "Stopped.", failed: "The answer failed." }[progress]);
    }
  }

  private tell(text: string, end: number): void {
    if (end <= this.told) return;
    const part = plain(text.slice(this.told, end));
    this.told = end;
    if (part) this.queue(part.length > longest_chars ? `${part.slice(0, longest_chars)} …` : part);
  }

  private queue(text: string): void {
    this.waiting.push(text);
    if (this.timer !== null) return;
    this.flush();
    this.timer = setTimeout(() => this.tick(), every_ms);
  }

  private tick(): void {
    this.timer = null;
    if (this.waiting.length === 0) return;
    this.flush();
    this.timer = setTimeout(() => this.tick(), every_ms);
  }

  private flush(): void {
    this.say(this.waiting.splice(0).join(" "));
  }
}

/** Markdown without its marks, as far as they would be read out. */
export function plain(markdown: string): string {
  return markdown
    .replace(/```[^\n]*\n[\s\S]*?(```|$)/g, " (code) ")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^[ \t]*(#{1,6}|[-*+>]|\d+[.)])[ \t]+/gm, "")
    .replace(/[*_`]{1,3}/g, "")
    .replace(/\s+/g, " ")
    .trim();
}
