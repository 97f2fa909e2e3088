// How a request ended, as a coloured word; the colour alone says nothing.
import { outcomeOf, type Request } from "./state";

export function Status({ request }: { request: Request }) {
  const { text, tone } = outcomeOf(request);
  return (
    <span class={`badge${tone === "none" ? "" : ` badge-${tone}`}`}>
      {text}
      {tone === "bad" && request.error !== null && ` ${request.error.replaceAll("_", " ")}`}
    </span>
  );
}
