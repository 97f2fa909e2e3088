import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { call, open, setSignInGate } from "./client";
import { advise, ApiError, faultOf, kinds, localFault } from "./errors";
import { retryDelay } from "./retry";

type Reply = Response | Error;
let asked: { url: string; init: RequestInit }[];
function replies(...all: Reply[]): void {
  asked = [];
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    asked.push({ url, init });
    const reply = all[Math.min(asked.length, all.length) - 1]!;
    return reply instanceof Error ? Promise.reject(reply) : Promise.resolve(reply.clone());
  });
}
const json = (value: unknown, status = 200, headers = {}): Response => new Response(JSON.stringify(value), { status, headers });
const refusal = (code: string, status: number, headers = {}): Response => json({ error: "in words", code, request_id: "r-1", retry_safe: true }, status, headers);
async function faultFrom(promise: Promise<unknown>) {
  const error: unknown = await promise.then(() => null, (error: unknown) => error);
  expect(error).toBeInstanceOf(ApiError);
  return (error as ApiError).fault;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
});
afterEach(() => {
  setSignInGate(null);
  vi.unstubAllGlobals();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("every call proves where it comes from, and sends no credential of its own", async () => {
  replies(json({ a: 1 }));
  expect(await call("account/keys", { method: "POST", body: { name: "ci" } })).toEqual({ a: 1 });
  const { url, init } = asked[0]!;
  expect(url).toBe("/web/v1/account/keys");
  expect(init.headers).toEqual({ "x-c2l-web": "1", "content-type": "application/json" });
  expect(init).toMatchObject({ method: "POST", credentials: "same-origin", redirect: "error", body: '{"name":"ci"}' });
});

test("a read is tried again through a restart of the relay", async () => {
  replies(new TypeError("failed to fetch"), refusal("draining", 503, { "retry-after": "2" }), json({ ok: true }));
  const answer = call("session");
  await vi.advanceTimersByTimeAsync(250);
  expect(asked.length).toBe(2);
  await vi.advanceTimersByTimeAsync(1999);
  expect(asked.length).toBe(2);
  await vi.advanceTimersByTimeAsync(1);
  expect(await answer).toEqual({ ok: true });
  expect(asked.length).toBe(3);
});

test("a write is never sent twice, and what does not pass is not waited for", async () => {
  replies(new TypeError("failed to fetch"));
  expect(await faultFrom(call("account/keys", { method: "POST", body: {} }))).toMatchObject({ kind: "network" });
  replies(refusal("agent_offline", 503, { "retry-after": "5" }));
  expect(await faultFrom(call("devices/desk/api/tags"))).toMatchObject({ kind: "agent_offline", retryAfterSeconds: 5, requestId: "r-1", retrySafe: true });
  expect(asked.length).toBe(1);
});

test("it is given up after a while, and an abort ends the wait at once", async () => {
  replies(new TypeError("failed to fetch"));
  const given = faultFrom(call("session"));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await given).toMatchObject({ kind: "network" });
  expect(asked.length).toBe(10);
  const abort = new AbortController();
  const aborted = call("session", { signal: abort.signal }).catch((error: unknown) => (error as Error).name);
  await vi.advanceTimersByTimeAsync(1);
  abort.abort();
  expect(await aborted).toBe("AbortError");
  expect(vi.getTimerCount()).toBe(0);
});

test("a 401 waits for the sign-in over the page, and is then sent again", async () => {
  let signIn = (): void => {};
  setSignInGate(() => new Promise((resolve) => (signIn = resolve)));
  replies(refusal("unauthenticated", 401), json({ ok: 1 }));
  const sent = call("account/keys", { method: "POST", body: { name: "mine" } });
  await vi.advanceTimersByTimeAsync(0);
  expect(asked.length).toBe(1);
  signIn();
  expect(await sent).toEqual({ ok: 1 });
  expect(asked.map(({ init }) => init.body)).toEqual(['{"name":"mine"}', '{"name":"mine"}']);
  replies(refusal("unauthenticated", 401));
  expect(await faultFrom(call("session", { method: "POST", body: {}, waitForSignIn: false }))).toMatchObject({ kind: "unauthenticated" });
});

test("an answer that is none of ours is told as such", async () => {
  replies(new Response("<html>Sign in to this network</html>"));
  expect(await faultFrom(call("session"))).toMatchObject({ kind: "unreadable" });
  replies(new Response("<html>Bad gateway</html>", { status: 502 }));
  expect(await faultFrom(open("session"))).toMatchObject({ kind: "unreadable", status: 502 });
});

test("a refusal is read from its body, its head, or its status", () => {
  const of = (status: number, body: string, headers = {}) => faultOf(status, new Headers(headers), body).kind;
  expect(of(503, '{"error":"x","code":"draining"}')).toBe("draining");
  expect(of(503, "", { "x-c2l-error": "overloaded" })).toBe("overloaded");
  expect(of(404, '{"error":"model \\"x\\" not found"}')).toBe("upstream");
  expect(of(403, '{"error":"x","code":"permission_denied"}')).toBe("permission_denied");
  expect(of(500, '{"error":"x","code":"__proto__"}')).toBe("upstream");
  expect(of(401, "")).toBe("unauthenticated");
});

test("every kind has a sentence and a next step", () => {
  for (const kind of kinds) {
    const { sentence, next } = advise(localFault(kind, ""));
    expect(sentence, kind).toMatch(/^[A-Z].*\.$/);
    expect(next, kind).toMatch(/^[A-Z].*\.$/);
  }
  expect(kinds.length).toBe(26);
  expect(advise({ kind: "overloaded", message: "", retryAfterSeconds: 7 }).next).toContain("7 s");
});

test("waits grow up to a bound, and heed what the relay says", () => {
  const fault = (kind: "network" | "timeout", retryAfterSeconds: number | null = null) => ({ kind, retryAfterSeconds });
  const waits = [1, 2, 3, 4, 5, 6, 9].map((attempt) => retryDelay(attempt, fault("network"), 1));
  expect(waits).toEqual([250, 500, 1000, 2000, 4000, 4000, 4000]);
  expect(retryDelay(1, fault("network"), 0)).toBe(125);
  expect(retryDelay(1, fault("network", 3), 0)).toBe(3000);
  expect(retryDelay(1, fault("network", 600), 0)).toBe(4000);
  expect(retryDelay(10, fault("network"), 1)).toBeNull();
  expect(retryDelay(1, fault("timeout"), 1)).toBeNull();
});

test("what a device's path is not known for is that the device is away, by its name", async () => {
  replies(refusal("route_unknown", 404));
  const away = await faultFrom(open("devices/my%20desk/api/chat", { method: "POST", body: {} }));
  expect(away).toMatchObject({ kind: "device_away", status: 404, requestId: "r-1", retrySafe: true });
  expect(advise(away)).toEqual({ sentence: "my desk is not connected now.", next: "Start `c2l agent` there, or choose another.", action: "devices" });
  expect((await faultFrom(call("account/devices/desk", { method: "DELETE" }))).kind).toBe("route_unknown");
  replies(json({ error: "model 'x' not found" }, 404));
  expect((await faultFrom(open("devices/desk/api/show", { method: "POST", body: {} }))).kind).toBe("upstream");
});

test("a server on a machine that wants a sign-in of its own is not asked for ever", async () => {
  let waits = 0;
  setSignInGate(() => Promise.resolve(void waits++)); // somebody is signed in: it lets everyone through
  replies(new Response("<html>401</html>", { status: 401 }));
  expect((await faultFrom(call("devices/desk/v1/models"))).kind).toBe("unauthenticated");
  expect([asked.length, waits]).toEqual([2, 1]);
});

test("what vLLM and FastAPI say of a failure is told in their words", async () => {
  replies(json({ object: "error", message: "no such model" }, 404));
  expect(await faultFrom(call("devices/desk/v1/models"))).toMatchObject({ kind: "upstream", message: "no such model" });
  replies(json({ detail: "Not authenticated" }, 401));
  expect(await faultFrom(call("devices/desk/v1/models"))).toMatchObject({ kind: "upstream", message: "Not authenticated" });
});
