// Who is signed in. Calls that were refused with 401 wait here until somebody is again, so that no draft and no click is lost.
import { signal } from "@preact/signals";
import { call, setSignInGate } from "./client";

export interface Issuer {
  id: string;
  name: string;
  url: string;
}
export interface Ways {
  link: boolean;
  token: boolean;
  issuers: Issuer[];
}
export interface SessionAnswer {
  signed_in: boolean;
  ways: Ways;
  build: string;
  user?: string;
  issuer?: string;
  expires_unix_seconds?: number;
  device_login?: boolean;
  public_url?: string | null;
}

/** `asking` until the first answer; `unreachable` when none came. */
export type Session =
  | { phase: "asking" }
  | { phase: "unreachable"; error: unknown }
  | { phase: "signed_out"; answer: SessionAnswer; expired: boolean }
  | { phase: "signed_in"; answer: SessionAnswer };

export const session = signal<Session>({ phase: "asking" });

type Waiter = { resume: () => void };
const waiters = new Set<Waiter>();
/** Whose page this is, from the first sign-in until it is left. */
let pageOwner: string | null = null;
/** Whether the last sign-in was ended on purpose: then nothing of it stays on the screen, in no tab. */
let hasLeft = false;
/** The other tabs of this browser: they have the same cookie, so whoever signs in or out in one does in all. */
let tabs: BroadcastChannel | null = null;

/** What a tab says in which somebody signs out. */
const left = false;

/** Begins to follow them; once, when the page begins. */
export function watchTabs(): void {
  tabs = new BroadcastChannel("c2l");
  tabs.onmessage = ({ data }) => {
    if (data === left) {
      hasLeft = true;
      void refreshSession();
    } else if (data === null || typeof data === "string") heard(data);
  };
}

/** In another tab this one has signed in, or, with null, somebody has signed out. */
function heard(owner: string | null): void {
  if (owner !== null && pageOwner !== null && owner !== pageOwner) return location.reload();
  // What the relay says counts, and not what another tab does.
  if ((owner !== null) !== (session.value.phase === "signed_in")) void refreshSession();
}

/** Asks the relay who is signed in. Never rejects; what went wrong is in `session`. */
export async function refreshSession(): Promise<void> {
  const before = session.value;
  // Whoever is to sign in again over the page still is, however often is asked.
  const wasSignedIn = before.phase === "signed_in" || (before.phase === "signed_out" && before.expired);
  try {
    accept(await call<SessionAnswer>("session", { waitForSignIn: false }), wasSignedIn);
  } catch (error) {
    // Somebody who is signed in stays so while the relay restarts.
    if (!wasSignedIn) session.value = { phase: "unreachable", error };
  }
}

/** Signs in with a pasted token or a one-time link's secret; rejects with what the relay said. */
export async function signInWith(credential: { token: string } | { link: string }): Promise<void> {
  accept(await call<SessionAnswer>("session", { method: "POST", body: credential, waitForSignIn: false }), false);
}

/** Ends it here and at the relay; rejects when the relay could not be told. */
export async function signOut(): Promise<void> {
  await call<void>("session", { method: "DELETE", waitForSignIn: false });
  await leave();
}

/** What was signed in here has been ended on purpose: in this tab and in the others the sign-in takes the page's place. */
export async function leave(): Promise<void> {
  hasLeft = true;
  tabs?.postMessage(left);
  await refreshSession();
}

function accept(answer: SessionAnswer, wasSignedIn: boolean): void {
  const owner = answer.signed_in ? JSON.stringify([answer.issuer, answer.user]) : null;
  if (owner !== (session.value.phase === "signed_in" ? pageOwner : null)) tabs?.postMessage(owner);
  if (owner === null) {
    session.value = { phase: "signed_out", answer, expired: wasSignedIn && !hasLeft };
    return;
  }
  if (pageOwner !== null && pageOwner !== owner) {
    // Somebody else: nothing that was open or waited may become theirs.
    location.reload();
    return;
  }
  pageOwner = owner;
  hasLeft = false;
  session.value = { phase: "signed_in", answer };
  for (const waiter of waiters) waiter.resume();
  waiters.clear();
}

/** Waits until somebody is signed in; the first one who waits has the page ask for it. */
function waitForSignIn(abort: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      waiters.delete(waiter);
      reject(new DOMException("aborted", "AbortError"));
    };
    const waiter: Waiter = {
      resume: () => {
        abort?.removeEventListener("abort", leave);
        resolve();
      },
    };
    if (abort?.aborted) return leave();
    abort?.addEventListener("abort", leave, { once: true });
    waiters.add(waiter);
    void refreshSession();
  });
}

setSignInGate(waitForSignIn);
