// The view that is shown, as a signal that follows the address.
import { signal } from "@preact/signals";
import { formatRoute, parseRoute, type Route } from "./router";

export const route = signal<Route>({ view: "chat", conversation: null });

/** Follows the address. A one-time link leaves it at once: neither history nor a shared screen keeps it. */
export function startRouter(): void {
  const follow = (): void => {
    route.value = parseRoute(location.hash);
    if (route.value.view === "signin" && route.value.link !== null) history.replaceState(null, "", formatRoute(route.value));
  };
  addEventListener("hashchange", follow);
  follow();
}

/** Goes to a view; `replace` leaves no entry in the history. */
export function go(to: Route, options: { replace?: boolean } = {}): void {
  const hash = formatRoute(to);
  if (options.replace) {
    history.replaceState(null, "", hash);
    route.value = to;
  } else {
    location.hash = hash;
  }
}
