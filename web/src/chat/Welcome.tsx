// What stands where a conversation will be: a greeting, or what is missing for one.
import { formatRoute } from "../app/router";
import { Problem } from "../ui/Problem";
import { Button } from "../ui/Button";
import { listState, models, onlineDevices, refreshModels } from "./modelList";

export function Welcome({ isUnknown }: { isUnknown: boolean }) {
  return (
    <div class="thread">
      <div class="welcome">
        {isUnknown ? (
          <>
            <h2>This conversation is not here</h2>
            <p>Conversations are kept in the browser in which they were held. It may have been deleted, or be in another one.</p>
          </>
        ) : (
          <>
            <h2>What would you like to ask?</h2>
            <Missing />
          </>
        )}
      </div>
    </div>
  );
}

function Missing() {
  const state = listState.value;
  if (state.phase === "asking") return <p role="status">Asking your devices for their models …</p>;
  if (state.phase === "failed") {
    return (
      <Problem error={state.error}>
        <Button onClick={() => void refreshModels()}>Try again</Button>
      </Problem>
    );
  }
  if (onlineDevices.value.length === 0) {
    return (
      <p>
        None of your machines is connected. Start <code>c2l agent</code> on one, or see <a href={formatRoute({ view: "devices", confirm: null })}>Devices</a> for how to add it.
      </p>
    );
  }
  if (models.value.length === 0) {
    return (
      <p>
        Your machine is connected, and has no model yet. There: <code>ollama pull llama3.2</code>
      </p>
    );
  }
  return <p>Your models answer from your own machine; what you write is kept in this browser alone.</p>;
}
