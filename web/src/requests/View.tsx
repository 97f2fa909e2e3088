// The recent requests of this user, live: what went where, how it ended, and how long it took. The relay keeps no bodies.
import { Fragment } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api/client";
import { PageHead } from "../app/Shell";
import { Button } from "../ui/Button";
import { Check } from "../ui/Check";
import { Field, Select } from "../ui/Field";
import { bytes, clock, span } from "../ui/format";
import { Icon } from "../ui/Icon";
import { Problem } from "../ui/Problem";
import { Table, type Column } from "../ui/Table";
import { useNow } from "../ui/useNow";
import { usePoll } from "../ui/usePoll";
import { Details } from "./Details";
import { Plot } from "./Plot";
import { Status } from "./Status";
import { devicesOf, filtered, lastHour, merge, noFilter, nothing, pieceMeans, withoutLost, type Answer, type Filter, type Recent, type Request } from "./state";

export function RequestsView() {
  const [recent, setRecent] = useState<Recent | null>(null);
  const [isPaused, setPaused] = useState(false);
  const [filter, setFilter] = useState<Filter>(noFilter);
  const [chosen, setChosen] = useState<number | null>(null);
  const { error, refresh } = usePoll(
    2000,
    async (signal) => {
      const known = recent ?? nothing;
      const answer = await call<Answer>(`account/requests?after=${known.next}&limit=200`, { signal, retry: false });
      setRecent(merge(withoutLost(known, answer), answer, Date.now()));
    },
    isPaused,
  );
  const now_ms = useNow(1000) + (recent?.ahead_ms ?? 0);
  const all = recent?.requests ?? [];
  const rows = filtered(all, filter);
  const detailed = all.find((request) => request.seq === chosen);
  return (
    <>
      <PageHead title="Requests">
        <Button onClick={() => setPaused(!isPaused)} aria-pressed={isPaused}>
          <Icon name={isPaused ? "play" : "pause"} /> {isPaused ? "Go on" : "Pause"}
        </Button>
      </PageHead>
      <div class="page page-wide">
        {error !== null && !recent && <Problem error={error}><Button onClick={refresh}>Try again</Button></Problem>}
        {!recent && error === null && <p class="quiet" role="status">Looking for recent requests …</p>}
        {recent && (
          <>
            <Plot minutes={lastHour(all, now_ms)} />
            <Filters filter={filter} devices={devicesOf(all)} onChange={setFilter} />
            <p class="quiet" aria-live="off">
              {rows.length === all.length ? `${all.length} in the last hour` : `${rows.length} of ${all.length} in the last hour`}
              {isPaused && ", paused"}
            </p>
            <Table caption="Recent requests, the newest first" columns={columns(now_ms, setChosen)} rows={rows} rowKey={(row) => row.seq} empty={<Nothing isFiltered={all.length > 0} onAll={() => setFilter(noFilter)} />} />
          </>
        )}
      </div>
      {detailed && <Details request={detailed} now_ms={now_ms} onClose={() => setChosen(null)} />}
    </>
  );
}

function Filters({ filter, devices, onChange }: { filter: Filter; devices: string[]; onChange: (filter: Filter) => void }) {
  // One that has no request any more stays to be chosen: a filter that vanished could not be seen.
  const choices = filter.device === "" || devices.includes(filter.device) ? devices : [...devices, filter.device];
  return (
    <div class="filters" role="search" aria-label="Filter the requests">
      <Field label="Find" type="search" placeholder="model, path, key, id …" value={filter.text} onInput={(event) => onChange({ ...filter, text: event.currentTarget.value })} />
      <Select
        label="Device"
        value={filter.device}
        options={[{ value: "", label: "all" }, ...choices.map((device) => ({ value: device, label: device }))]}
        onChange={(device) => onChange({ ...filter, device })}
      />
      <Check label="Only failures" isChecked={filter.onlyFailures} onChange={(onlyFailures) => onChange({ ...filter, onlyFailures })} />
    </div>
  );
}

function columns(now_ms: number, choose: (seq: number) => void): Column<Request>[] {
  return [
    { name: "Time", cell: (row) => <button type="button" class="row-link" aria-label={`Details of the request of ${clock(row.started_unix_ms)}`} onClick={() => choose(row.seq)}>{clock(row.started_unix_ms)}</button> },
    { name: "Request", cell: (row) => <Route request={row} /> },
    { name: "Model", cell: (row) => <span class="mono">{row.model ?? "–"}</span> },
    { name: "Device", cell: (row) => row.device ?? "–" },
    { name: "Status", cell: (row) => <Status request={row} /> },
    { name: "First byte", numeric: true, cell: (row) => (row.first_byte_ms === null ? "–" : span(row.first_byte_ms)) },
    { name: "Duration", numeric: true, cell: (row) => span(row.duration_ms ?? Math.max(0, now_ms - row.started_unix_ms)) },
    { name: "Pieces", title: pieceMeans, numeric: true, cell: (row) => row.chunks ?? "–" },
    { name: "Up / down", numeric: true, cell: (row) => <span class="nowrap">{bytes(row.bytes_up)} / {bytes(row.bytes_down)}</span> },
  ];
}

/** Broken after slashes alone, where it can be. Nearly all are POST, which is therefore not said. */
function Route({ request }: { request: Request }) {
  const parts = request.route.split("/");
  return (
    <span class="mono route">
      {request.method === "POST" ? "" : `${request.method} `}
      {parts.map((part, at) => (at < parts.length - 1 ? <Fragment key={at}>{part}/<wbr /></Fragment> : part))}
    </span>
  );
}

function Nothing({ isFiltered, onAll }: { isFiltered: boolean; onAll: () => void }) {
  if (isFiltered) {
    return (
      <>
        <p>No request is like that.</p>
        <Button onClick={onAll}>Show all</Button>
      </>
    );
  }
  return (
    <>
      <p><strong>No requests in the last hour.</strong></p>
      <p>Start a <a href="#/chat">chat</a>, or make a <a href="#/keys">key</a> for a program; what they ask appears here at once.</p>
    </>
  );
}
