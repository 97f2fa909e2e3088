// Where somebody wanted to go, kept in this tab while a provider's page has taken over.
import { go, route } from "../app/navigation";
import { parseRoute } from "../app/router";
import { keepPlace, takePlace } from "./state";

export function leaveForProvider(): void {
  try {
    keepPlace(sessionStorage, location.hash);
  } catch {
    // A browser that keeps nothing comes back to the chat.
  }
}

/** Goes there, once somebody is signed in; leaves a view alone that was asked for meanwhile. */
export function arrive(): void {
  let place: string | null = null;
  try {
    place = takePlace(sessionStorage);
  } catch {
    // As above.
  }
  if (route.value.view !== "signin" && location.hash !== "") return;
  go(place === null ? { view: "chat", conversation: null } : parseRoute(place), { replace: true });
}
