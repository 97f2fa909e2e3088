// All that is known of one request, as it goes on.
import type { ComponentChildren } from "preact";
import { advise, isKind } from "../api/errors";
import { Button } from "../ui/Button";
import { CopyButton } from "../ui/copy";
import { Dialog } from "../ui/Dialog";
import { bytes, moment, span } from "../ui/format";
import { Prose } from "../ui/Prose";
import { pieceMeans, rateOf, type Request } from "./state";
import { Status } from "./Status";

export function Details({ request, now_ms, onClose }: { request: Request; now_ms: number; onClose: () => void }) {
  const rate = rateOf(request, now_ms);
  return (
    <Dialog title="Request" onClose={onClose} actions={<Button onClick={onClose}>Close</Button>}>
      <dl class="facts">
        <Fact name="Status"><Status request={request} /></Fact>
        <Fact name="What"><span class="mono">{request.method} {request.route}</span></Fact>
        <Fact name="Model">{request.model ?? "not told"}</Fact>
        <Fact name="Device">{request.device ?? "none"}</Fact>
        <Fact name="Began">{moment(request.started_unix_ms)}</Fact>
        <Fact name="First byte">{request.first_byte_ms === null ? "none yet" : `after ${span(request.first_byte_ms)}`}</Fact>
        <Fact name={request.duration_ms === null ? "Runs for" : "Took"}>{span(request.duration_ms ?? Math.max(0, now_ms - request.started_unix_ms))}</Fact>
        {request.chunks !== null && <Fact name="Pieces" title={pieceMeans}>{request.chunks}{rate !== null && `, ${rate.toFixed(1)} a second`}</Fact>}
        <Fact name="Bytes">{bytes(request.bytes_up)} up, {bytes(request.bytes_down)} down</Fact>
        <Fact name="With"><span class="mono">{request.credential}</span></Fact>
        <Fact name="Id"><span class="mono">{request.id}</span> <CopyButton text={request.id} label="Copy the id" iconOnly /></Fact>
      </dl>
      {request.error !== null && <WhatItMeans error={request.error} origin={request.origin} />}
    </Dialog>
  );
}

function Fact({ name, title, children }: { name: string; title?: string; children: ComponentChildren }) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function WhatItMeans({ error, origin }: { error: string; origin: Request["origin"] }) {
  if (error === "caller_gone") return <p class="note">Whoever asked left before the answer's end; the model was stopped.</p>;
  const advice = isKind(error) ? advise({ kind: error, message: "", retryAfterSeconds: null }) : null;
  return (
    <p class="note">
      <strong>{advice ? advice.sentence : error}</strong> {advice && <Prose text={advice.next} />}
      {origin !== null && <span class="quiet"> At fault: the {origin}.</span>}
    </p>
  );
}
