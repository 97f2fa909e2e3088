import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { isUnreached, probeDelay, Reachability, type Reach } from "./reachability";

beforeEach(() => vi.useFakeTimers({ now: 1000 }));
afterEach(() => vi.useRealTimers());

function start(answers: boolean[]) {
  const seen: Reach[] = [];
  let asked = 0;
  const reach = new Reachability({
    ask: async () => answers[asked++] ?? false,
    now: () => Date.now(),
    chance: () => 0.999999,
    changed: (now) => seen.push(now),
  });
  return { reach, seen, asked: () => asked };
}

test("a relay that is lost is asked again, less and less often, until it answers", async () => {
  const { reach, seen, asked } = start([false, false, true]);
  reach.lost();
  expect(seen.at(-1)).toMatchObject({ phase: "lost", since_ms: 1000 });
  await vi.advanceTimersByTimeAsync(1000);
  expect(asked()).toBe(1);
  await vi.advanceTimersByTimeAsync(1900);
  expect(asked()).toBe(1);
  await vi.advanceTimersByTimeAsync(100);
  expect(asked()).toBe(2);
  await vi.advanceTimersByTimeAsync(4000);
  expect(asked()).toBe(3);
  expect(seen.at(-1)).toEqual({ phase: "answering" });
  expect(vi.getTimerCount()).toBe(0);
});

test("the time of the next question is told, and null while one is under way", async () => {
  let answer = (_: boolean): void => undefined;
  const seen: Reach[] = [];
  const reach = new Reachability({
    ask: () => new Promise((resolve) => (answer = resolve)),
    now: () => Date.now(),
    chance: () => 0,
    changed: (now) => seen.push(now),
  });
  reach.lost();
  expect(seen).toEqual([{ phase: "lost", since_ms: 1000, next_ms: 1500 }]);
  await vi.advanceTimersByTimeAsync(500);
  expect(seen.at(-1)).toEqual({ phase: "lost", since_ms: 1000, next_ms: null });
  reach.askNow(); // one is under way already
  answer(false);
  await vi.advanceTimersByTimeAsync(0);
  expect(seen.at(-1)).toEqual({ phase: "lost", since_ms: 1000, next_ms: 2500 });
});

test("whoever presses the button need not wait, and begins no second row of questions", async () => {
  const { reach, asked } = start([false, true]);
  reach.lost();
  reach.askNow();
  await vi.advanceTimersByTimeAsync(0);
  expect(asked()).toBe(1);
  expect(vi.getTimerCount()).toBe(1);
});

test("any answer ends it, and more losses meanwhile change nothing", async () => {
  const { reach, seen, asked } = start([]);
  reach.lost();
  reach.lost();
  expect(seen).toHaveLength(1);
  reach.answered();
  reach.answered();
  expect(seen).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked()).toBe(0);
});

test("delays double up to a bound, and are never in step", () => {
  expect([0, 1, 2, 3, 4, 5, 60].map((n) => probeDelay(n, 1))).toEqual([1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
  expect(probeDelay(3, 0)).toBe(4000);
});

test("a refusal is an answer; a gateway's own page is not", () => {
  expect(isUnreached({ kind: "network", status: null })).toBe(true);
  expect(isUnreached({ kind: "draining", status: 503 })).toBe(true);
  expect(isUnreached({ kind: "unreadable", status: 502 })).toBe(true);
  expect(isUnreached({ kind: "unreadable", status: 404 })).toBe(false);
  expect(isUnreached({ kind: "agent_offline", status: 503 })).toBe(false);
  expect(isUnreached({ kind: "unauthenticated", status: 401 })).toBe(false);
});
