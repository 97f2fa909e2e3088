import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Poller } from "./poller";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function poller(ask: (signal: AbortSignal) => Promise<void>) {
  const outcomes: unknown[] = [];
  return { outcomes, poller: new Poller({ every_ms: 2000, ask, outcome: (error) => outcomes.push(error), chance: () => 1 }) };
}

test("asks at once and then every two seconds, while somebody looks", async () => {
  const ask = vi.fn(async () => undefined);
  const { poller: polled } = poller(ask);
  polled.setActive(true);
  expect(ask).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(4000);
  expect(ask).toHaveBeenCalledTimes(3);
  polled.setActive(false);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(3);
  expect(vi.getTimerCount()).toBe(0);
  polled.setActive(true);
  expect(ask).toHaveBeenCalledTimes(4);
});

test("a slow answer is waited for: never two questions at once", async () => {
  let answer = (): void => undefined;
  const ask = vi.fn(() => new Promise<void>((resolve) => (answer = resolve)));
  const { poller: polled } = poller(ask);
  polled.setActive(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(1);
  answer();
  await vi.advanceTimersByTimeAsync(2000);
  expect(ask).toHaveBeenCalledTimes(2);
});

test("failures make it slower, a success makes it as fast as before", async () => {
  let isBroken = true;
  const ask = vi.fn(async () => {
    if (isBroken) throw new Error("no");
  });
  const { poller: polled, outcomes } = poller(ask);
  polled.setActive(true);
  await vi.advanceTimersByTimeAsync(3999);
  expect(ask).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(ask).toHaveBeenCalledTimes(2);
  isBroken = false;
  await vi.advanceTimersByTimeAsync(8000);
  expect(ask).toHaveBeenCalledTimes(3);
  await vi.advanceTimersByTimeAsync(2000);
  expect(ask).toHaveBeenCalledTimes(4);
  expect(outcomes.map((error) => error === null)).toEqual([false, false, true, true]);
});

test("what was given up says nothing, neither success nor failure", async () => {
  const ends: { resolve: () => void; signal: AbortSignal }[] = [];
  const { poller: polled, outcomes } = poller((signal) => new Promise((resolve) => ends.push({ resolve, signal })));
  polled.setActive(true);
  polled.refresh();
  expect(ends[0]!.signal.aborted).toBe(true);
  expect(ends[1]!.signal.aborted).toBe(false);
  ends[0]!.resolve();
  await vi.advanceTimersByTimeAsync(0);
  expect(outcomes).toEqual([]);
  ends[1]!.resolve();
  await vi.advanceTimersByTimeAsync(0);
  expect(outcomes).toEqual([null]);
});
