// Short notices at the edge of the page. They are read out politely and go by themselves; what must not be missed is shown in place.
import { signal } from "@preact/signals";
import { advise, ApiError } from "../api/errors";
import { IconButton } from "./Button";
import { Icon } from "./Icon";

interface Toast {
  id: number;
  text: string;
  kind: "note" | "error";
}
const shown = signal<Toast[]>([]);
const most = 4;
let next = 1;

export function toast(text: string, kind: Toast["kind"] = "note"): void {
  const id = next++;
  shown.value = [...shown.value.slice(1 - most), { id, text, kind }];
  setTimeout(() => dismiss(id), kind === "error" ? 10_000 : 4_000);
}

/** Says what went wrong, and the next step. */
export function toastError(error: unknown): void {
  if (!(error instanceof ApiError)) return toast(error instanceof Error ? error.message : String(error), "error");
  const advice = advise(error.fault);
  toast(`${advice.sentence} ${advice.next}`.replaceAll("`", ""), "error");
}

function dismiss(id: number): void {
  shown.value = shown.value.filter((each) => each.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.value.map((each) => (
        <div key={each.id} class={`toast toast-${each.kind}`}>
          <span>{each.text}</span>
          <IconButton label="Dismiss" onClick={() => dismiss(each.id)}>
            <Icon name="close" />
          </IconButton>
        </div>
      ))}
    </div>
  );
}
