// A labelled input, with a hint and what is wrong with it, tied together for screen readers.
import type { InputHTMLAttributes, TextareaHTMLAttributes } from "preact";
import { useId } from "preact/hooks";
import { Prose } from "./Prose";

interface Common {
  label: string;
  hint?: string | undefined;
  error?: string | undefined;
}
type Used = "value" | "placeholder" | "required" | "disabled" | "readOnly" | "autoComplete" | "autoFocus" | "inputMode" | "maxLength" | "min" | "max" | "step" | "name" | "pattern" | "spellcheck" | "onInput" | "onChange" | "onBlur" | "onKeyDown";
type Props = Common & Pick<InputHTMLAttributes<HTMLInputElement>, Used> & { type?: "text" | "password" | "number" | "search" | "url" };

export function Field({ label, hint, error, ...input }: Props) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input id={id} class="input" aria-invalid={error ? true : undefined} aria-describedby={hint || error ? `${id}-note` : undefined} {...(input as object)} />
      <Note id={id} hint={hint} error={error} />
    </div>
  );
}

type AreaProps = Common & Omit<TextareaHTMLAttributes<HTMLTextAreaElement>, "label">;

export function Area({ label, hint, error, ...area }: AreaProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <textarea id={id} class="input" aria-invalid={error ? true : undefined} aria-describedby={hint || error ? `${id}-note` : undefined} {...area} />
      <Note id={id} hint={hint} error={error} />
    </div>
  );
}

type SelectProps = Common & { value: string; options: { value: string; label: string }[]; onChange: (value: string) => void };

export function Select({ label, hint, error, value, options, onChange }: SelectProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} class="input" aria-describedby={hint || error ? `${id}-note` : undefined} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map((option) => (
          <option key={option.value} value={option.value} selected={option.value === value}>
            {option.label}
          </option>
        ))}
      </select>
      <Note id={id} hint={hint} error={error} />
    </div>
  );
}

function Note({ id, hint, error }: { id: string; hint: string | undefined; error: string | undefined }) {
  if (!hint && !error) return null;
  return (
    <p id={`${id}-note`} class={error ? "field-error" : "field-hint"}>
      <Prose text={error ?? hint ?? ""} />
    </p>
  );
}
