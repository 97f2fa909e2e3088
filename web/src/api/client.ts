// The one place that fetches. Everything goes to this very origin below /web/v1/ and is authorised by the cookie alone.
//
// A 401 means that nothing has been done yet: the call waits until somebody has signed in over the page, and is sent again.
import { ApiError, faultOf, localFault, type Fault } from "./errors";
import { retryDelay } from "./retry";

export interface CallOptions {
  method?: "GET" | "POST" | "PUT" | "DELETE";
  /** Sent as JSON. */
  body?: unknown;
  /** Ends the call, also while it waits; the promise then rejects with an `AbortError`. */
  signal?: AbortSignal;
  /** Whether a 401 waits for a sign-in (the default) or is thrown like every other refusal. */
  waitForSignIn?: boolean;
  /** Whether a read is tried again through a restart of the relay; a read is, unless said. */
  retry?: boolean;
}

/** Who is told of a 401. Resolves when somebody is signed in again; rejects when `signal` aborts. */
export type SignInGate = (signal: AbortSignal | undefined) => Promise<void>;
let gate: SignInGate | null = null;

export function setSignInGate(to: SignInGate | null): void {
  gate = to;
}

/** Is told of the outcome of each exchange: null for an answer, else what was wrong with it. */
type AnswerListener = (fault: Fault | null) => void;
let listener: AnswerListener = () => undefined;

export function setAnswerListener(to: AnswerListener): void {
  listener = to;
}

/** The answer's head, when it is a success; its body is the caller's to read. */
export async function open(path: string, options: CallOptions = {}): Promise<Response> {
  let hasWaited = false; // a 401 to somebody who has just been found signed in is no matter of signing in
  for (let attempt = 1; ; attempt++) {
    try {
      return await once(path, options);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.fault.kind === "unauthenticated" && gate && options.waitForSignIn !== false && !hasWaited) {
        hasWaited = true;
        await gate(options.signal);
        continue;
      }
      const isRead = (options.method ?? "GET") === "GET";
      const wait = isRead && options.retry !== false ? retryDelay(attempt, error.fault, Math.random()) : null;
      if (wait === null) throw error;
      await pause(wait, options.signal);
    }
  }
}

/** The answer's body as JSON; nothing for a 204. What it says is not checked here beyond being JSON. */
export async function call<T>(path: string, options: CallOptions = {}): Promise<T> {
  const response = await open(path, options);
  if (response.status === 204) return undefined as T;
  let text: string;
  try {
    text = await response.text();
  } catch (error) {
    throw isAbort(error) ? error : new ApiError(localFault("torn", "the answer broke off"));
  }
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ApiError(localFault("unreadable", "the answer is no JSON"));
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

async function once(path: string, options: CallOptions): Promise<Response> {
  const headers: Record<string, string> = { "x-c2l-web": "1" };
  const init: RequestInit = { method: options.method ?? "GET", headers, cache: "no-store", credentials: "same-origin", redirect: "error" };
  if (options.body !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  if (options.signal) init.signal = options.signal;
  let response: Response;
  try {
    response = await fetch(`/web/v1/${path}`, init);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw told(localFault("network", error instanceof Error ? error.message : "no answer"));
  }
  if (response.ok) {
    listener(null);
    return response;
  }
  const body = await response.text().catch(() => "");
  throw told(atDevice(path, faultOf(response.status, response.headers, body)));
}

/** Of a device's own path the relay does not know whether there is such a device, or it is away; the page has seen it. */
function atDevice(path: string, fault: Fault): Fault {
  const device = /^devices\/([^/]+)\//.exec(path)?.[1];
  return device && fault.kind === "route_unknown" ? { ...fault, kind: "device_away", message: decodeURIComponent(device) } : fault;
}

function told(fault: Fault): ApiError {
  listener(fault);
  return new ApiError(fault);
}

/** Waits; rejects at once with an `AbortError` when the signal aborts. */
function pause(wait_ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, wait_ms);
    if (signal?.aborted) aborted();
    else signal?.addEventListener("abort", aborted, { once: true });
  });
}
