// The form that makes a key. Only the name must be given; what limits it is folded away until somebody wants it.
import { useEffect, useState } from "preact/hooks";
import { listDevices } from "../devices/calls";
import { titleOf } from "../devices/state";
import { Button } from "../ui/Button";
import { Check } from "../ui/Check";
import { Dialog } from "../ui/Dialog";
import { Field, Select } from "../ui/Field";
import { Problem } from "../ui/Problem";
import { makeKey } from "./calls";
import { emptyForm, expiries, requestOf, type Expiry, type FormErrors, type KeyForm, type NewKey } from "./state";

export function CreateKey({ onMade, onClose }: { onMade: (key: NewKey) => void; onClose: () => void }) {
  const [form, setForm] = useState<KeyForm>(emptyForm);
  const [errors, setErrors] = useState<FormErrors>({});
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const devices = useDeviceChoices();
  const change = (part: Partial<KeyForm>): void => setForm({ ...form, ...part });
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const wanted = requestOf(form);
    if ("errors" in wanted) return setErrors(wanted.errors);
    setErrors({});
    setError(null);
    setBusy(true);
    try {
      onMade(await makeKey(wanted.request));
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  };
  return (
    <Dialog title="New key" onClose={isBusy ? undefined : onClose}>
      <form class="stack" onSubmit={(event) => void submit(event)} noValidate>
        <Field label="Name" value={form.name} autoFocus autoComplete="off" placeholder="laptop-scripts" error={errors.name} onInput={(event) => change({ name: event.currentTarget.value })} />
        <Select label="Ends" value={form.expires} options={expiries} onChange={(expires) => change({ expires: expires as Expiry })} />
        <details class="how" open={errors.models !== undefined || errors.rate !== undefined}>
          <summary>Limit what it may do</summary>
          <div class="stack">
            <Field
              label="Models"
              value={form.models}
              autoComplete="off"
              spellcheck={false}
              placeholder="every model"
              hint="Names or patterns, apart by commas: `llama3.2, qwen3:*`."
              error={errors.models}
              onInput={(event) => change({ models: event.currentTarget.value })}
            />
            <Select label="Device" value={form.device} options={devices} onChange={(device) => change({ device })} />
            <Field
              label="Requests a minute"
              value={form.rate}
              inputMode="numeric"
              autoComplete="off"
              placeholder="no limit of its own"
              error={errors.rate}
              onInput={(event) => change({ rate: event.currentTarget.value })}
            />
            <Check
              label="May manage models, too"
              hint="Pull, copy and delete them; only on machines whose agent allows it."
              isChecked={form.isManager}
              onChange={(isManager) => change({ isManager })}
            />
          </div>
        </details>
        {error !== null && <Problem error={error} />}
        <div class="dialog-actions">
          <Button onClick={onClose} disabled={isBusy}>Cancel</Button>
          <Button type="submit" kind="primary" disabled={isBusy}>{isBusy ? "Creating it …" : "Create key"}</Button>
        </div>
      </form>
    </Dialog>
  );
}

/** The user's machines, as far as they can be told; a key may be made without. */
function useDeviceChoices(): { value: string; label: string }[] {
  const [choices, setChoices] = useState<{ value: string; label: string }[]>([]);
  useEffect(() => {
    const leave = new AbortController();
    listDevices(leave.signal).then(
      ({ devices, offline }) => setChoices([...devices, ...offline].map((device) => ({ value: device.name, label: titleOf(device) }))),
      () => undefined,
    );
    return () => leave.abort();
  }, []);
  return [{ value: "", label: "any of mine" }, ...choices];
}
