// What the sign-in says and does, without a browser: which ways there are, what went wrong, and how long to wait.
import { ApiError, type Fault } from "../api/errors";

export type Way = "token" | "link";

export interface SignInProblem {
  sentence: string;
  next: string;
  /** Until when trying again is of no use, in milliseconds since 1970; null when it may be tried at once. */
  until_ms: number | null;
}

/** What went wrong with a token or a link. */
export function problemOf(error: unknown, way: Way, now_ms: number): SignInProblem {
  const say = (sentence: string, next: string, until_ms: number | null = null): SignInProblem => ({ sentence, next, until_ms });
  if (!(error instanceof ApiError)) return say("Signing in failed in this page.", "Reload it, then try again.");
  const fault = error.fault;
  switch (fault.kind) {
    case "unauthenticated":
      return way === "link"
        ? say("This link is not good any more.", "Each one works once, for 15 minutes: make another with `c2l user link` on the relay's own machine.")
        : say(`This token is not accepted${because(fault)}.`, "Check that all of it was copied, or make another one.");
    case "forbidden":
      return say("This token may not sign in here.", "It needs the scope `account`: make another one.");
    case "user_over_limit":
      return say(`This relay lets nobody in from here for now${because(fault)}.`, "", now_ms + (fault.retryAfterSeconds ?? 60) * 1000);
    case "permission_denied":
      return say("The relay takes this page for a foreign one.", "Open it under the relay's own address, without anything in between that changes requests.");
    case "invalid_request":
      return say("This is no token.", "Paste what `c2l token issue` printed, and nothing else.");
    case "issuer_unreachable":
      return say("The identity provider that made this token cannot be reached.", "Try again in a moment.");
    case "network":
    case "draining":
    case "overloaded":
      return say("The relay does not answer now.", "Nothing was lost: try again in a moment.");
    default:
      return say("Signing in failed.", fault.requestId ? `Try again; the relay's log says why, under ${fault.requestId}.` : "Try again.");
  }
}

/** Whether what was shown is not good, and another try with it is of no use. */
export function isRefused(error: unknown): boolean {
  return error instanceof ApiError && error.fault.kind === "unauthenticated";
}

/** What a failed way through an identity provider means; the relay says it as one word in the address. */
export function problemOfWord(word: string): SignInProblem {
  const say = (sentence: string, next: string): SignInProblem => ({ sentence, next, until_ms: null });
  switch (word) {
    case "denied":
      return say("The identity provider did not let you in.", "You may have cancelled it, or your account may not be used here.");
    case "expired":
      return say("This sign-in took too long, or was begun in another browser.", "Begin it again here.");
    case "unreachable":
      return say("The identity provider does not answer.", "Try again in a moment.");
    case "refused":
      return say("This relay does not accept what the identity provider said.", "Ask whoever runs the relay: its log says why.");
    case "busy":
      return say("The relay or the provider is busy, or you have asked too often.", "Try again in a moment.");
    default:
      return say("Signing in through the identity provider failed.", "Try again; the relay's log says why.");
  }
}

/** Whether a token can be meant by what was typed: what is none need not be sent. Spaces around it do not count. */
export function tokenOf(typed: string): string | null {
  const token = typed.trim();
  return token !== "" && token.length <= 16_384 && !/\s/.test(token) ? token : null;
}

/** Seconds left to wait, rounded up. */
export function secondsLeft(until_ms: number | null, now_ms: number): number {
  return until_ms === null ? 0 : Math.max(0, Math.ceil((until_ms - now_ms) / 1000));
}

/** How a provider is called on its button: by its host, since names of issuers are addresses. */
export function providerName(name: string): string {
  try {
    return new URL(name).host || name;
  } catch {
    return name;
  }
}

const place_key = "c2l-after-sign-in";

type Places = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** Keeps where somebody wanted to go, before a provider's page takes over. Sign-in addresses themselves are never kept. */
export function keepPlace(places: Places, hash: string): void {
  if (/^#\/(chat|devices|keys|requests)\b/.test(hash)) places.setItem(place_key, hash);
  else places.removeItem(place_key);
}

/** Where that was, once. */
export function takePlace(places: Places): string | null {
  const hash = places.getItem(place_key);
  places.removeItem(place_key);
  return hash;
}

function because(fault: Fault): string {
  const reason = fault.message.trim().replace(/\.$/, "");
  return reason ? `: ${reason}` : "";
}
