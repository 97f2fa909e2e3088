// Exchanges a key for a new one like it; the old one may go on for a while, so that programs can be changed over.
import { useState } from "preact/hooks";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { Select } from "../ui/Field";
import { Problem } from "../ui/Problem";
import { rotateKey } from "./calls";
import type { Key, NewKey } from "./state";

const overlaps = [
  { value: "0", label: "ends at once" },
  { value: "3600", label: "goes on for an hour" },
  { value: "86400", label: "goes on for a day" },
  { value: "604800", label: "goes on for a week" },
];

export function RotateKey({ old, onMade, onClose }: { old: Key; onMade: (key: NewKey) => void; onClose: () => void }) {
  const [overlap, setOverlap] = useState("3600");
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const rotate = async (): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      onMade(await rotateKey(old.id, Number(overlap)));
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={`Exchange ${old.name}`}
      onClose={isBusy ? undefined : onClose}
      actions={
        <>
          <Button onClick={onClose} disabled={isBusy}>Cancel</Button>
          <Button kind="primary" onClick={() => void rotate()} disabled={isBusy}>Make the new key</Button>
        </>
      }
    >
      <p>A new key with the same name and limits is made, and shown once.</p>
      <Select label="The old one" value={overlap} options={overlaps} onChange={setOverlap} />
      {error !== null && <Problem error={error} />}
    </Dialog>
  );
}
