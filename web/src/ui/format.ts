// Numbers and times as a person reads them. Spaces between number and unit do not break.

const nbsp = "\u00a0";

/** A size: `0 B`, `980 B`, `1.2 kB`, `4.7 GB` (thousands, as Ollama and shops count). */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 ? 1 : 0;
  return `${value.toFixed(digits)}${nbsp}${units[unit]}`;
}

/** A length of time that was measured: `12 ms`, `1.4 s`, `2 min 5 s`, `1 h 3 min`. */
export function span(length_ms: number): string {
  if (length_ms < 999.5) return `${Math.round(length_ms)}${nbsp}ms`;
  if (length_ms < 9950) return `${(length_ms / 1000).toFixed(1)}${nbsp}s`;
  const seconds = Math.round(length_ms / 1000);
  if (seconds < 60) return `${seconds}${nbsp}s`;
  if (seconds < 3600) return two(Math.floor(seconds / 60), "min", seconds % 60, "s");
  return two(Math.floor(seconds / 3600), "h", Math.floor((seconds % 3600) / 60), "min");
}

/** A length of time as one says it: `less than a minute`, `5 minutes`, `3 hours`, `2 days`. */
export function roughly(length_ms: number): string {
  const minutes = Math.floor(length_ms / 60_000);
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return many(minutes, "minute");
  if (minutes < 48 * 60) return many(Math.floor(minutes / 60), "hour");
  return many(Math.floor(minutes / (24 * 60)), "day");
}

/** How long something is past: `just now`, `5 minutes ago`. Clocks may differ a little, so what is to come is now. */
export function ago(then_ms: number, now_ms: number): string {
  return now_ms - then_ms < 60_000 ? "just now" : `${roughly(now_ms - then_ms)} ago`;
}

/** `1 request`, `2 requests`. */
export function many(count: number, noun: string): string {
  return `${count}${nbsp}${noun}${count === 1 ? "" : "s"}`;
}

/** The time of day, in this browser's way. */
export function clock(at_ms: number): string {
  return new Date(at_ms).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** A day with its time, in this browser's way. */
export function moment(at_ms: number): string {
  return new Date(at_ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

function two(first: number, firstUnit: string, second: number, secondUnit: string): string {
  const rest = second === 0 ? "" : ` ${second}${nbsp}${secondUnit}`;
  return `${first}${nbsp}${firstUnit}${rest}`;
}
