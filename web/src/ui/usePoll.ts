// A question that a view asks while it is shown, the page is visible, and the view does not pause it.
import { useEffect, useRef, useState } from "preact/hooks";
import { reach } from "../api/connection";
import { Poller } from "./poller";

interface Polled {
  /** What the last question failed with, or null. */
  error: unknown;
  /** Asks now. */
  refresh: () => void;
}

export function usePoll(every_ms: number, ask: (signal: AbortSignal) => Promise<void>, isPaused = false): Polled {
  const [error, setError] = useState<unknown>(null);
  const latest = useRef(ask);
  latest.current = ask;
  const paused = useRef(isPaused);
  paused.current = isPaused;
  const poller = useRef<Poller | null>(null);

  useEffect(() => {
    const polled = new Poller({ every_ms, ask: (signal) => latest.current(signal), outcome: setError });
    poller.current = polled;
    const follow = (): void => polled.setActive(!paused.current && document.visibilityState === "visible");
    follow();
    document.addEventListener("visibilitychange", follow);
    // Whoever waits out a long delay learns at once that the relay is back.
    let wasLost = false;
    const unwatch = reach.subscribe(({ phase }) => {
      if (wasLost && phase === "answering") polled.refresh();
      wasLost = phase === "lost";
    });
    return () => {
      unwatch();
      document.removeEventListener("visibilitychange", follow);
      polled.setActive(false);
    };
  }, [every_ms]);
  useEffect(() => poller.current?.setActive(!isPaused && document.visibilityState === "visible"), [isPaused]);

  return { error, refresh: () => poller.current?.refresh() };
}
