// Small things kept in this browser, each user's apart: whoever signs in next on this browser finds nothing of the one before.
import { session } from "../api/session";

export type Keeper = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** Names this user among those who share this browser. Empty before somebody is signed in. */
export function owner(): string {
  const now = session.value;
  const answer = now.phase === "signed_in" || now.phase === "signed_out" ? now.answer : null;
  return answer?.user === undefined ? lastOwner : (lastOwner = JSON.stringify([answer.issuer ?? "", answer.user]));
}
/** Stays through an expiry: what is written meanwhile is still theirs. */
let lastOwner = "";

/** What was kept under `name`; null when nothing was, or the browser keeps nothing. */
export function readOwn(name: string, keeper: Keeper = localStorage): string | null {
  try {
    return keeper.getItem(keyOf(name));
  } catch {
    return null;
  }
}

/** Keeps `value`; null forgets. Where the browser keeps nothing, or is full, nothing happens. */
export function writeOwn(name: string, value: string | null, keeper: Keeper = localStorage): void {
  try {
    if (value === null) keeper.removeItem(keyOf(name));
    else keeper.setItem(keyOf(name), value);
  } catch {
    // What is on the page is still there.
  }
}

function keyOf(name: string): string {
  return `c2l:${owner()}:${name}`;
}
