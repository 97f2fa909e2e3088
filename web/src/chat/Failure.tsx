// An answer that did not end by itself: what came stays, and this says what can be done next.
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { ApiError, advise, type Fault } from "../api/errors";
import { formatRoute } from "../app/router";
import { Button } from "../ui/Button";
import { Problem } from "../ui/Problem";
import { resume } from "./actions";
import type { Answer, Conversation } from "./conversation";
import { refreshModels, stateOf } from "./modelList";

const look_every_ms = 3000;

export function Failure({ conversation, answer }: { conversation: Conversation; answer: Answer }) {
  const hasSome = answer.content !== "" || answer.thinking !== "";
  const retry = (
    <>
      {answer.content && <Button kind="primary" onClick={() => resume(conversation, answer, true)}>Continue</Button>}
      <Button kind={answer.content ? "plain" : "primary"} onClick={() => resume(conversation, answer, false)}>
        {hasSome ? "Begin again" : "Try again"}
      </Button>
    </>
  );
  if (answer.progress.phase === "stopped") {
    return (
      <div class="stopped">
        <span>Stopped.</span>
        {retry}
      </div>
    );
  }
  if (answer.progress.phase !== "failed") return null;
  const { fault } = answer.progress;
  if (fault.kind === "timeout" && !hasSome) return <StillLoading answer={answer} fault={fault}>{retry}</StillLoading>;
  return (
    <Problem error={new ApiError(fault)}>
      {retry}
      {advise(fault).action === "devices" && <a class="button button-plain" href={formatRoute({ view: "devices", confirm: null })}>Devices</a>}
    </Problem>
  );
}

/** A time limit hit while the model loads. The load goes on at the device; this watches for its end. */
function StillLoading({ answer, fault, children }: { answer: Answer; fault: Fault; children: ComponentChildren }) {
  const isLoaded = stateOf(answer.device, answer.model) === "loaded";
  useEffect(() => {
    if (isLoaded) return;
    const timer = setInterval(() => void refreshModels(), look_every_ms);
    return () => clearInterval(timer);
  }, [isLoaded]);
  return (
    <div class="loading-offer" role="status">
      <p>
        <strong>{isLoaded ? `${answer.model} is loaded now.` : `${answer.model} is still loading on ${answer.device}.`}</strong>{" "}
        {isLoaded ? "It can answer." : "It took longer than the relay waits; the load goes on meanwhile, and another try finds it further on."}
      </p>
      {fault.message && (
        <details>
          <summary>Details</summary>
          <p class="mono">{[fault.message, fault.requestId && `request ${fault.requestId}`].filter(Boolean).join(" · ")}</p>
        </details>
      )}
      <div class="problem-actions">{children}</div>
    </div>
  );
}
