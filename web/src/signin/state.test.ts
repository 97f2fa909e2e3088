import { expect, test } from "vitest";
import { ApiError, localFault, type ErrorKind } from "../api/errors";
import { keepPlace, problemOf, problemOfWord, providerName, secondsLeft, takePlace, tokenOf } from "./state";

function refused(kind: ErrorKind, more: { message?: string; retryAfterSeconds?: number } = {}): ApiError {
  return new ApiError({ ...localFault(kind, more.message ?? ""), status: 400, retryAfterSeconds: more.retryAfterSeconds ?? null });
}

test("a token that is not taken says why, a link says how to get another", () => {
  expect(problemOf(refused("unauthenticated", { message: "the token has expired" }), "token", 0).sentence).toBe(
    "This token is not accepted: the token has expired.",
  );
  expect(problemOf(refused("unauthenticated"), "token", 0).sentence).toBe("This token is not accepted.");
  expect(problemOf(refused("unauthenticated"), "link", 0).next).toContain("c2l user link");
  expect(problemOf(refused("forbidden"), "token", 0).next).toContain("account");
});

test("too many tries name the wait that the relay named", () => {
  const problem = problemOf(refused("user_over_limit", { retryAfterSeconds: 41 }), "token", 10_000);
  expect(problem.until_ms).toBe(51_000);
  expect(secondsLeft(problem.until_ms, 10_000)).toBe(41);
  expect(secondsLeft(problem.until_ms, 50_001)).toBe(1);
  expect(secondsLeft(problem.until_ms, 51_000)).toBe(0);
  expect(secondsLeft(null, 0)).toBe(0);
});

test("a relay that is away is not the token's fault", () => {
  for (const kind of ["network", "draining", "overloaded"] as const) {
    expect(problemOf(refused(kind), "token", 0).sentence).toBe("The relay does not answer now.");
  }
  expect(problemOf(new TypeError("x"), "link", 0).sentence).toContain("in this page");
});

test("every word of a failed way through a provider has a sentence, the unknown too", () => {
  for (const word of ["denied", "expired", "unreachable", "refused", "busy", "", "<script>"]) {
    const { sentence, next } = problemOfWord(word);
    expect(sentence).toMatch(/\.$/);
    expect(next).toMatch(/\.$/);
    expect(sentence + next).not.toContain("<");
  }
});

test("what cannot be a token is not sent", () => {
  expect(tokenOf("  abc.def.ghi\n")).toBe("abc.def.ghi");
  for (const typed of ["", "   ", "Bearer abc", "a".repeat(16_385)]) expect(tokenOf(typed)).toBeNull();
});

test("providers are called by their hosts", () => {
  expect(providerName("https://login.example/realms/c2l")).toBe("login.example");
  expect(providerName("Example")).toBe("Example");
});

test("the place is kept for once, and a sign-in link never", () => {
  const kept = new Map<string, string>();
  const places = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  };
  keepPlace(places, "#/devices/confirm?code=ABCD-EFGH");
  expect(takePlace(places)).toBe("#/devices/confirm?code=ABCD-EFGH");
  expect(takePlace(places)).toBeNull();
  keepPlace(places, "#/keys");
  keepPlace(places, "#/signin?link=secret");
  expect(kept.size).toBe(0);
});
