import { expect, test } from "vitest";
import { advise, faultOf, kinds } from "./errors";

test("each kind of failure has a sentence of its own, and a next step", () => {
  const same: Record<string, string[]> = {};
  for (const kind of kinds) {
    const { sentence, next } = advise({ kind, message: "", retryAfterSeconds: null });
    expect(sentence).toMatch(/^[A-Z].*\.$/);
    expect(next).toMatch(/^[A-Z].*\.$/);
    (same[sentence] ??= []).push(kind);
  }
  // Those that mean the same to whoever reads them, and no others.
  expect(Object.values(same).filter((kinds) => kinds.length > 1)).toEqual([
    ["invalid_request", "method_not_allowed", "expectation_failed"],
    ["forbidden", "permission_denied"],
    ["agent_lost", "agent_protocol"],
    ["internal", "caller_gone"],
  ]);
});

test("a wait that was told is named", () => {
  for (const kind of ["user_over_limit", "overloaded", "draining", "issuer_unreachable"] as const) {
    expect(advise({ kind, message: "", retryAfterSeconds: 7 }).next).toContain("in 7 s");
  }
});

test("a refusal is read from its body, its head, or its status", () => {
  const body = JSON.stringify({ error: "no machine", code: "agent_offline", origin: "agent", retry_safe: true, request_id: "r-1" });
  expect(faultOf(503, new Headers({ "retry-after": "5" }), body)).toEqual({
    kind: "agent_offline", message: "no machine", status: 503, requestId: "r-1", retryAfterSeconds: 5, retrySafe: true,
  });
  expect(faultOf(503, new Headers({ "x-c2l-error": "draining" }), "")).toMatchObject({ kind: "draining", retrySafe: false });
  expect(faultOf(404, new Headers(), '{"error":"model not found"}')).toMatchObject({ kind: "upstream", message: "model not found" });
  expect(faultOf(502, new Headers(), "<html>bad gateway</html>")).toMatchObject({ kind: "unreadable", message: "" });
  expect(faultOf(401, new Headers(), "")).toMatchObject({ kind: "unauthenticated" });
});

test("a refusal of a server that speaks OpenAI's API is in its own words", () => {
  const body = JSON.stringify({ error: { message: "File Not Found", type: "not_found_error", code: 404 } });
  expect(faultOf(404, new Headers(), body)).toMatchObject({ kind: "upstream", message: "File Not Found" });
});

test("what comes from elsewhere is bounded", () => {
  const fault = faultOf(500, new Headers({ "retry-after": "999999" }), JSON.stringify({ error: "x".repeat(9000), code: "nonsense" }));
  expect(fault.message).toHaveLength(2000);
  expect(fault.retryAfterSeconds).toBe(3600);
  expect(fault.kind).toBe("upstream");
});
