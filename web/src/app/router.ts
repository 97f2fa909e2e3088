// Addresses of views: parsing and writing, without a browser. Views are fragments, so that no server or log ever sees them.
export type Route =
  | { view: "chat"; conversation: string | null }
  | { view: "devices"; confirm: string | null }
  | { view: "keys" }
  | { view: "requests" }
  | { view: "signin"; link: string | null; error: string | null };

const conversation_id = /^[0-9a-zA-Z-]{1,64}$/;

/** The route of a fragment such as `#/chat/1f…`; what is not known is a new chat. */
export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [view, rest = ""] = path.split("/", 2);
  const parameters = new URLSearchParams(query);
  switch (view) {
    case "devices":
      return { view, confirm: rest === "confirm" ? (parameters.get("code") ?? "") : null };
    case "keys":
    case "requests":
      return { view };
    case "signin":
      return { view, link: parameters.get("link"), error: parameters.get("error") };
    default:
      return { view: "chat", conversation: conversation_id.test(rest) ? rest : null };
  }
}

/** The fragment of a route, with its `#`. A one-time link is never written back into an address. */
export function formatRoute(route: Route): string {
  switch (route.view) {
    case "chat":
      return route.conversation ? `#/chat/${route.conversation}` : "#/chat";
    case "devices":
      return route.confirm === null ? "#/devices" : `#/devices/confirm?${new URLSearchParams({ code: route.confirm })}`;
    case "signin":
      return "#/signin";
    default:
      return `#/${route.view}`;
  }
}
