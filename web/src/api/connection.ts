// The one `Reachability` of this page: fed by every call, and told to whoever shows it.
import { effect, signal } from "@preact/signals";
import { call, setAnswerListener } from "./client";
import { ApiError } from "./errors";
import { isUnreached, Reachability, type Reach } from "./reachability";
import { refreshSession, session } from "./session";

export const reach = signal<Reach>({ phase: "answering" });

const reachability = new Reachability({
  ask: async () => {
    try {
      await call("session", { waitForSignIn: false, retry: false });
      return true;
    } catch (error) {
      return error instanceof ApiError && !isUnreached(error.fault);
    }
  },
  now: () => Date.now(),
  chance: () => Math.random(),
  changed: (now) => (reach.value = now),
});

/** Asks at once, for somebody who does not want to wait. */
export function askNow(): void {
  reachability.askNow();
}

/** Begins to watch; once, when the page begins. */
export function watchConnection(): void {
  keepSession();
  setAnswerListener((fault) => (fault && isUnreached(fault) ? reachability.lost() : reachability.answered()));
  addEventListener("online", askNow);
  let wasLost = false;
  effect(() => {
    const isLost = reach.value.phase === "lost";
    if (wasLost && !isLost && session.peek().phase === "unreachable") void refreshSession();
    wasLost = isLost;
  });
}

/** Has the relay renew the cookie of a page that somebody looks at, when half of its time is over. */
function keepSession(): void {
  const every_ms = 60_000;
  let renew_ms = Infinity;
  effect(() => {
    const now = session.value;
    const until_ms = now.phase === "signed_in" ? (now.answer.expires_unix_seconds ?? 0) * 1000 : 0;
    renew_ms = until_ms > 0 ? Math.max((Date.now() + until_ms) / 2, Date.now() + every_ms) : Infinity;
  });
  const look = (): void => {
    if (document.visibilityState === "visible" && Date.now() >= renew_ms) void refreshSession();
  };
  setInterval(look, every_ms);
  document.addEventListener("visibilitychange", look);
}
