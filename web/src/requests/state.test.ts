import { expect, test } from "vitest";
import { devicesOf, filtered, hour_ms, isFailed, lastHour, merge, noFilter, nothing, outcomeOf, rateOf, scaleOf, withoutLost, type Request } from "./state";

const began_ms = 10 * hour_ms;

function request(seq: number, more: Partial<Request> = {}): Request {
  return {
    seq, id: `r-${seq}`, started_unix_ms: began_ms + seq * 1000, device: "desk", route: "/api/chat", method: "POST", model: "qwen3:8b", status: 200,
    error: null, origin: null, first_byte_ms: 100, duration_ms: 1100, bytes_up: 10, bytes_down: 20, chunks: 40, credential: "key:abc", ...more,
  };
}

test("what comes again takes the place of what was known, newest first", () => {
  const first = merge(nothing, { requests: [request(1), request(2, { duration_ms: null })], next: 2, now_unix_ms: began_ms }, began_ms - 50);
  expect(first.requests.map(({ seq }) => seq)).toEqual([2, 1]);
  expect(first).toMatchObject({ next: 2, ahead_ms: 50 });
  const second = merge(first, { requests: [request(2), request(3)], next: 3, now_unix_ms: began_ms }, began_ms);
  expect(second.requests.map(({ seq, duration_ms }) => [seq, duration_ms])).toEqual([[3, 1100], [2, 1100], [1, 1100]]);
});

test("what is kept is bounded by age and by number; what runs is kept however old", () => {
  const old = merge(nothing, { requests: [request(1), request(2, { duration_ms: null }), request(3)], next: 3, now_unix_ms: began_ms }, 0);
  const later = merge(old, { requests: [], next: 3, now_unix_ms: began_ms + 2500 + hour_ms }, 0);
  expect(later.requests.map(({ seq }) => seq)).toEqual([3, 2]);
  const many = Array.from({ length: 1500 }, (_, seq) => request(seq, { started_unix_ms: began_ms }));
  expect(merge(nothing, { requests: many, next: 0, now_unix_ms: began_ms }, 0).requests).toHaveLength(1000);
});

test("what runs and is not told of again is not shown as running for ever", () => {
  const known = merge(nothing, { requests: [request(1), request(2, { duration_ms: null }), request(3, { duration_ms: null })], next: 3, now_unix_ms: began_ms }, 0);
  const left = withoutLost(known, { requests: [request(3, { duration_ms: null })], next: 3, now_unix_ms: began_ms });
  expect(left.requests.map(({ seq }) => seq)).toEqual([3, 1]);
});

test("filters: every word somewhere in the row, a device, failures alone", () => {
  const requests = [
    request(1),
    request(2, { device: "attic", route: "/v1/embeddings", model: null }),
    request(3, { device: null, status: 503, error: "agent_offline" }),
    request(4, { status: null, error: "caller_gone" }),
  ];
  const seqs = (filter: Partial<typeof noFilter>): number[] => filtered(requests, { ...noFilter, ...filter }).map(({ seq }) => seq);
  expect(seqs({})).toEqual([1, 2, 3, 4]);
  expect(seqs({ text: "QWEN  chat" })).toEqual([1, 3, 4]);
  expect(seqs({ text: "offline" })).toEqual([3]);
  expect(seqs({ device: "attic" })).toEqual([2]);
  expect(seqs({ onlyFailures: true })).toEqual([3]);
  expect(seqs({ text: "nowhere" })).toEqual([]);
  expect(devicesOf(requests)).toEqual(["attic", "desk"]);
});

test("outcomes: a caller who leaves has not failed, a torn answer has", () => {
  expect(outcomeOf(request(1))).toEqual({ text: "200", tone: "good" });
  expect(outcomeOf(request(1, { duration_ms: null }))).toEqual({ text: "streaming", tone: "warn" });
  expect(outcomeOf(request(1, { duration_ms: null, status: null }))).toEqual({ text: "waiting", tone: "warn" });
  expect(outcomeOf(request(1, { status: null, error: "caller_gone" }))).toEqual({ text: "stopped", tone: "none" });
  expect(outcomeOf(request(1, { error: "agent_lost" }))).toEqual({ text: "200", tone: "bad" });
  expect(outcomeOf(request(1, { status: null, error: "agent_offline" }))).toEqual({ text: "failed", tone: "bad" });
  expect(isFailed(request(1, { status: 404 }))).toBe(true);
});

test("pieces a second count from the first byte on", () => {
  expect(rateOf(request(1), 0)).toBe(40);
  expect(rateOf(request(1, { duration_ms: null, started_unix_ms: 0 }), 2100)).toBe(20);
  expect(rateOf(request(1, { chunks: 1 }), 0)).toBeNull();
  expect(rateOf(request(1, { duration_ms: 100 }), 0)).toBeNull();
  expect(rateOf(request(1, { first_byte_ms: null }), 0)).toBeNull();
});

test("the last hour has sixty minutes, and what is outside of it is not counted", () => {
  const now_ms = began_ms + 30_000;
  const at = (ago_ms: number, more: Partial<Request> = {}): Request => request(1, { started_unix_ms: now_ms - ago_ms, ...more });
  const minutes = lastHour([at(0), at(1000, { status: 500 }), at(60_000), at(hour_ms - 31_000), at(hour_ms), at(-hour_ms)], now_ms);
  expect(minutes).toHaveLength(60);
  expect(minutes[59]).toEqual({ from_ms: began_ms, good: 1, failed: 1 });
  expect(minutes[58]).toMatchObject({ good: 1, failed: 0 });
  expect(minutes[0]).toMatchObject({ good: 1 });
  expect(minutes.reduce((sum, { good, failed }) => sum + good + failed, 0)).toBe(4);
});

test("the scale is round and never exceeded", () => {
  const scale = (good: number): number => scaleOf([{ from_ms: 0, good, failed: 0 }]);
  expect([0, 4, 5, 10, 11, 20, 21, 40, 41, 150, 399].map(scale)).toEqual([4, 4, 10, 10, 20, 20, 40, 40, 100, 200, 400]);
});
