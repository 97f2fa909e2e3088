// A box to tick, with what it means beside it.
import { useId } from "preact/hooks";

interface Props {
  label: string;
  hint?: string | undefined;
  isChecked: boolean;
  onChange: (isChecked: boolean) => void;
}

export function Check({ label, hint, isChecked, onChange }: Props) {
  const id = useId();
  return (
    <div class="check">
      <input id={id} type="checkbox" checked={isChecked} aria-describedby={hint ? `${id}-note` : undefined} onChange={(event) => onChange(event.currentTarget.checked)} />
      <div>
        <label for={id}>{label}</label>
        {hint && <p id={`${id}-note`} class="field-hint">{hint}</p>}
      </div>
    </div>
  );
}
