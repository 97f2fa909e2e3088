import { expect, test } from "vitest";
import { ago, bytes, many, roughly, span } from "./format";

const plain = (text: string): string => text.replaceAll("\u00a0", " ");

test("sizes", () => {
  const sizes = [0, 999, 1000, 1234, 9949, 9960, 999_499, 999_600, 4.66e9, 3e15].map((n) => plain(bytes(n)));
  expect(sizes).toEqual(["0 B", "999 B", "1.0 kB", "1.2 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB", "4.7 GB", "3000 TB"]);
});

test("measured times never round up into a unit that is not theirs", () => {
  const spans = [0, 0.4, 999, 999.6, 1449, 9949, 9951, 59_400, 59_600, 60_000, 125_000, 3_600_000, 3_780_000].map((n) => plain(span(n)));
  expect(spans).toEqual(["0 ms", "0 ms", "999 ms", "1.0 s", "1.4 s", "9.9 s", "10 s", "59 s", "1 min", "1 min", "2 min 5 s", "1 h", "1 h 3 min"]);
});

test("rough times", () => {
  expect([0, 60_000, 119_000, 3_600_000, 47 * 3_600_000, 48 * 3_600_000].map((n) => plain(roughly(n)))).toEqual([
    "less than a minute", "1 minute", "1 minute", "1 hour", "47 hours", "2 days",
  ]);
  expect(plain(ago(0, 300_000))).toBe("5 minutes ago");
  expect(ago(5000, 0)).toBe("just now"); // a clock that is behind
  expect(plain(many(1, "key"))).toBe("1 key");
});
