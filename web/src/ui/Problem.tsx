// What went wrong, shown in place: a sentence, the next step, and for those who ask the words and the id of the request.
import type { ComponentChildren } from "preact";
import { advise, ApiError } from "../api/errors";
import { Icon } from "./Icon";
import { Prose } from "./Prose";

export function Problem({ error, children }: { error: unknown; children?: ComponentChildren }) {
  const fault = error instanceof ApiError ? error.fault : null;
  const advice = fault ? advise(fault) : { sentence: error instanceof Error ? error.message : "Something went wrong.", next: "" };
  const details = fault ? [fault.message, fault.requestId ? `request ${fault.requestId}` : ""].filter((text) => text && text !== advice.sentence) : [];
  return (
    <div class="problem" role="alert">
      <Icon name="warning" />
      <div>
        <p>
          <strong><Prose text={advice.sentence} /></strong> <Prose text={advice.next} />
        </p>
        {details.length > 0 && (
          <details>
            <summary>Details</summary>
            <p class="mono">{details.join(" · ")}</p>
          </details>
        )}
        {children && <div class="problem-actions">{children}</div>}
      </div>
    </div>
  );
}
