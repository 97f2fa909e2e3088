// One connected machine: since when and through what, what it does now, and the models that it holds.
import { useEffect, useState } from "preact/hooks";
import { isAbort } from "../api/client";
import { reach } from "../api/connection";
import { Button } from "../ui/Button";
import { bytes, many, moment, roughly } from "../ui/format";
import { Icon } from "../ui/Icon";
import { Problem } from "../ui/Problem";
import { useNow } from "../ui/useNow";
import { lookInside } from "./calls";
import { DeviceMenu } from "./DeviceMenu";
import { titleOf, transportName, type Device, type Model } from "./state";

export function DeviceCard({ device, onChanged }: { device: Device; onChanged: () => void }) {
  const now_ms = useNow(30_000);
  const since_ms = device.connected_unix_seconds * 1000;
  return (
    <article class="card" aria-label={titleOf(device)}>
      <header class="card-head">
        <div class="row-main">
          <h2>{titleOf(device)}</h2>
          {device.label !== null && <p class="quiet">{device.name}</p>}
        </div>
        {device.is_draining ? <span class="badge badge-warn">leaving</span> : <span class="badge badge-good">connected</span>}
        <DeviceMenu device={device} isConnected onChanged={onChanged} />
      </header>
      <dl class="facts">
        <Fact name="Connected">
          <span title={moment(since_ms)}>{roughly(Math.max(0, now_ms - since_ms))}</span>
        </Fact>
        <Fact name="Through">{transportName(device.transport)}</Fact>
        {device.address !== null && <Fact name="From">{device.address}</Fact>}
        <Fact name="Agent">{device.build}</Fact>
        <Fact name="Requests">
          {device.active_streams} now, {device.total_streams} since it connected
        </Fact>
      </dl>
      <Inside device={device} />
    </article>
  );
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

type Held = { models: Model[]; version: string | null };

/** Asked once a connection, and when somebody wants to know: each time is a request of its own at the machine. */
function Inside({ device }: { device: Device }) {
  const [held, setHeld] = useState<Held | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const leave = new AbortController();
    setError(null);
    lookInside(device, leave.signal).then(setHeld, (thrown: unknown) => {
      if (!isAbort(thrown)) setError(thrown);
    });
    return () => leave.abort();
  }, [device.session_id, turn]);
  const again = (): void => setTurn((before) => before + 1);
  useEffect(() => {
    // What failed while the relay was away is asked again when it is back.
    if (error === null) return;
    let wasLost = false;
    return reach.subscribe(({ phase }) => {
      if (wasLost && phase === "answering") again();
      wasLost = phase === "lost";
    });
  }, [error]);
  if (error !== null) return <Problem error={error}><Button onClick={again}>Try again</Button></Problem>;
  if (!held) return <p class="quiet" role="status">Asking for its models …</p>;
  return (
    <div class="stack">
      <div class="models-head">
        <h3>{held.models.length === 0 ? "No models" : many(held.models.length, "model")}</h3>
        {held.version && <span class="quiet">Ollama {held.version}</span>}
        <Button kind="quiet" class="button-icon" aria-label={`Look again for the models of ${titleOf(device)}`} title="Look again" onClick={again}>
          <Icon name="redo" />
        </Button>
      </div>
      {held.models.length === 0 && <p class="quiet">Get one there with <code>ollama pull llama3.2</code>, then look again.</p>}
      <ul class="models">
        {held.models.map((model) => (
          <li key={model.name}>
            <span class="mono">{model.name}</span>
            {model.loaded_bytes !== null && <span class="badge badge-good">in memory{model.loaded_bytes > 0 ? `, ${bytes(model.loaded_bytes)}` : ""}</span>}
            {model.size_bytes !== null && <span class="quiet">{bytes(model.size_bytes)}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}
