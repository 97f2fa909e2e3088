// The machines of this user: which are connected, what they hold, and how to add one.
import { useState } from "preact/hooks";
import { session } from "../api/session";
import { go } from "../app/navigation";
import { PageHead } from "../app/Shell";
import { Button } from "../ui/Button";
import { ago } from "../ui/format";
import { Icon } from "../ui/Icon";
import { Problem } from "../ui/Problem";
import { useNow } from "../ui/useNow";
import { usePoll } from "../ui/usePoll";
import { AddDevice } from "./AddDevice";
import { listDevices } from "./calls";
import { ConfirmCode } from "./ConfirmCode";
import { DeviceCard } from "./DeviceCard";
import { DeviceMenu } from "./DeviceMenu";
import { titleOf, type Devices } from "./state";

export function DevicesView({ confirm }: { confirm: string | null }) {
  const [known, setKnown] = useState<Devices | null>(null);
  const [isAdding, setAdding] = useState(false);
  const { error, refresh } = usePoll(3000, async (signal) => setKnown(await listDevices(signal)));
  const isEmpty = known !== null && known.devices.length === 0 && known.offline.length === 0;
  const leaveCode = (): void => {
    go({ view: "devices", confirm: null }, { replace: true });
    refresh();
  };
  return (
    <>
      <PageHead title="Devices">
        <Button kind="primary" onClick={() => setAdding(true)}>
          <Icon name="add" /> Add a machine
        </Button>
      </PageHead>
      <div class="page">
        {error !== null && !known && <Problem error={error}><Button onClick={refresh}>Try again</Button></Problem>}
        {!known && error === null && <p class="quiet" role="status">Looking for your machines …</p>}
        {isEmpty && <FirstSteps />}
        {known && known.devices.length > 0 && (
          <section class="cards" aria-label="Connected">
            {known.devices.map((device) => (
              <DeviceCard key={device.session_id} device={device} onChanged={refresh} />
            ))}
          </section>
        )}
        {known && known.devices.length === 0 && !isEmpty && (
          <div class="empty">
            <p><strong>None of your machines is connected.</strong></p>
            <p>Wake one up, or start <code>c2l agent</code> on it. This page notices by itself.</p>
          </div>
        )}
        {known && known.offline.length > 0 && <Offline known={known} onChanged={refresh} />}
      </div>
      {isAdding && <AddDevice onClose={() => setAdding(false)} />}
      {confirm !== null && <ConfirmCode code={confirm} onClose={leaveCode} />}
    </>
  );
}

function FirstSteps() {
  const now = session.value;
  return (
    <section class="first-steps">
      <Icon name="device" />
      <h2>No machine yet</h2>
      <p>Your models run on a machine of yours. Log it in there, and it appears here.</p>
      <AddDevice.Steps hasLogin={now.phase === "signed_in" && now.answer.device_login !== false} />
    </section>
  );
}

function Offline({ known, onChanged }: { known: Devices; onChanged: () => void }) {
  const now_ms = useNow(30_000);
  return (
    <section class="stack" aria-labelledby="offline">
      <h2 id="offline">Not connected</h2>
      <ul class="rows">
        {known.offline.map((device) => (
          <li key={device.name} class="row">
            <span class="dot" aria-hidden="true" />
            <div class="row-main">
              <strong>{titleOf(device)}</strong>
              {device.label !== null && <span class="quiet"> {device.name}</span>}
              <p class="quiet">Last seen {ago(device.last_seen_unix_seconds * 1000, now_ms)}</p>
            </div>
            <DeviceMenu device={device} isConnected={false} onChanged={onChanged} />
          </li>
        ))}
      </ul>
    </section>
  );
}
