// What went wrong, as a kind, and what a person is told about it: one sentence, and one next step. Matched without a default,
// so that a new kind cannot be forgotten.

/** The relay's kinds of failure, and those that only a browser sees. */
export const kinds = [
  "invalid_request", "unauthenticated", "forbidden", "route_unknown", "method_not_allowed", "body_too_large", "expectation_failed",
  "user_over_limit", "upstream_unreachable", "upstream_failed", "agent_lost", "agent_protocol", "agent_offline", "overloaded",
  "draining", "issuer_unreachable", "timeout", "internal", "caller_gone", "permission_denied",
  "upstream", // the model's own server refused or failed, in its own words
  "network", // no answer came at all
  "torn", // an answer began and did not end
  "unreadable", // an answer came that is none of ours
  "device_away", // the device that was asked is not connected; the message is its name
  "too_long", // an answer that went on beyond what the page takes
] as const;
export type ErrorKind = (typeof kinds)[number];

export interface Fault {
  kind: ErrorKind;
  /** What the relay or the upstream said, for those who want to know. */
  message: string;
  status: number | null;
  requestId: string | null;
  /** When to come back, where that was told. */
  retryAfterSeconds: number | null;
  /** Whether nothing has been done yet, so that asking again cannot do it twice. */
  retrySafe: boolean;
}

export class ApiError extends Error {
  constructor(readonly fault: Fault) {
    super(fault.message);
    this.name = "ApiError";
  }
}

export interface Advice {
  sentence: string;
  next: string;
  /** What a button can do about it, if one can. */
  action: "retry" | "signin" | "devices" | null;
}

export function isKind(word: unknown): word is ErrorKind {
  return (kinds as readonly unknown[]).includes(word);
}

/** What a person is told. */
export function advise(fault: Pick<Fault, "kind" | "message" | "retryAfterSeconds">): Advice {
  const wait = fault.retryAfterSeconds ? ` in ${fault.retryAfterSeconds} s` : " in a moment";
  const say = (sentence: string, next: string, action: Advice["action"] = null): Advice => ({ sentence, next, action });
  switch (fault.kind) {
    case "invalid_request":
    case "expectation_failed":
    case "method_not_allowed":
      return say("The relay did not understand this request.", "Reload the page; if it happens again, report it with the request's id.");
    case "unauthenticated":
      return say("You are signed out.", "Sign in again; what you wrote is still here.", "signin");
    case "forbidden":
    case "permission_denied":
      return say("This is not allowed.", "The machine's owner decides what may be used: see the flags of `c2l agent`.");
    case "route_unknown":
      return say("There is no such device or path.", "Choose a device that is connected.", "devices");
    case "body_too_large":
      return say("This message is too large for the relay.", "Send fewer or smaller images, or begin a new conversation.");
    case "user_over_limit":
      return say("You are sending more requests than this relay allows.", `Try again${wait}.`, "retry");
    case "upstream_unreachable":
      return say("The machine is connected, but no model server answers on it.", "Start it there (`ollama serve`, or what stands in its place), then try again.", "retry");
    case "upstream_failed":
      return say("The model's server broke off in the middle of its answer.", "Try again; its log on that machine says why.", "retry");
    case "agent_lost":
    case "agent_protocol":
      return say("The connection to your machine was lost.", "It comes back by itself as a rule: try again in a moment.", "retry");
    case "agent_offline":
      return say("Your machine is not connected.", "Wake it up, or start `c2l agent` on it, then try again.", "retry");
    case "overloaded":
      return say("The relay has too much to do.", `Try again${wait}.`, "retry");
    case "draining":
      return say("The relay is being replaced.", `Try again${wait}.`, "retry");
    case "issuer_unreachable":
      return say("Your identity provider cannot be reached to check who you are.", `Try again${wait}.`, "retry");
    case "timeout":
      return say("No answer came in time.", "A large model may still be loading: try again, it goes on loading meanwhile.", "retry");
    case "internal":
    case "caller_gone":
      return say("The relay has failed, which is a bug.", "Try again; report it with the request's id.", "retry");
    case "upstream":
      return say(fault.message || "The model's server refused this.", "Change the request, or choose another model.", "retry");
    case "network":
      return say("The relay cannot be reached.", "Check your network; the page goes on by itself when the relay is back.", "retry");
    case "torn":
      return say("The answer broke off before its end.", "Continue from what has come, or ask again.", "retry");
    case "device_away":
      return say(`${fault.message || "The machine"} is not connected now.`, "Start `c2l agent` there, or choose another.", "devices");
    case "too_long":
      return say("The answer is longer than this page takes, and was stopped.", "Continue for more of it, or ask for something shorter.", "retry");
    case "unreadable":
      return say("The answer was not one of this relay's.", "Something between you and the relay answered in its place: check your network, then try again.", "retry");
  }
}

/** The fault that a refusal's head and body tell. `body` is what came, JSON or not. */
export function faultOf(status: number, headers: Headers, body: string): Fault {
  const said = parse(body);
  const code = said?.["code"] ?? headers.get("x-c2l-error");
  const error = said?.["error"];
  const inside = typeof error === "object" && error !== null ? (error as Record<string, unknown>)["message"] : error; // OpenAI's shape
  const message = text(inside) ?? text(said?.["message"]) ?? text(said?.["detail"]) ?? ""; // the last two: vLLM, FastAPI
  const retryAfter = Number(headers.get("retry-after"));
  return {
    kind: isKind(code) ? code : kindOfStatus(status, message),
    message: message.slice(0, 2000),
    status,
    requestId: text(said?.["request_id"]) ?? headers.get("x-request-id"),
    retryAfterSeconds: retryAfter > 0 ? Math.min(retryAfter, 3600) : null,
    retrySafe: said?.["retry_safe"] === true,
  };
}

/** A fault that no relay told us about. */
export function localFault(kind: ErrorKind, message: string): Fault {
  return { kind, message, status: null, requestId: null, retryAfterSeconds: null, retrySafe: false };
}

/** A refusal with a sentence but without our code is the upstream's own; one without either is somebody else's. */
function kindOfStatus(status: number, message: string): ErrorKind {
  if (message) return "upstream";
  return status === 401 ? "unauthenticated" : "unreadable";
}

function parse(body: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
