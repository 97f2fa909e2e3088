// System prompt and parameters of a conversation, or of the next new one. What is wrong is said beside its field; only what is right is kept.
import { useState } from "preact/hooks";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { Area, Field, Select } from "../ui/Field";
import { nextSettings, setSettings } from "./actions";
import type { Conversation } from "./conversation";
import { defaults, keepAliveError, readNumber, thinks, type NumberSetting, type Settings, type Think } from "./settings";

const fields: { setting: NumberSetting; label: string; hint: string }[] = [
  { setting: "temperature", label: "Temperature", hint: "0 says the likeliest, more is more varied" },
  { setting: "topP", label: "Top P", hint: "0 to 1: how much of the likely is considered" },
  { setting: "contextTokens", label: "Context (tokens)", hint: "num_ctx; more takes more memory" },
  { setting: "seed", label: "Seed", hint: "The same seed gives the same answer" },
];

const thinkLabels: Record<Think, string> = { default: "As the model does", off: "Off", on: "On", low: "A little", medium: "Medium", high: "A lot" };

export function SettingsDialog({ conversation, onClose }: { conversation: Conversation | null; onClose: () => void }) {
  const before = conversation?.settings ?? nextSettings.value;
  const [settings, set] = useState<Settings>(before);
  const [typed, setTyped] = useState(() => typedOf(before));
  const errorOf = (setting: NumberSetting): string | undefined => {
    const read = readNumber(setting, typed[setting]);
    return "error" in read ? read.error : undefined;
  };
  const aliveError = keepAliveError(settings.keepAlive) ?? undefined;
  const isGood = !aliveError && fields.every(({ setting }) => !errorOf(setting));
  const save = (): void => {
    const numbers = Object.fromEntries(
      fields.map(({ setting }) => {
        const read = readNumber(setting, typed[setting]);
        return [setting, "value" in read ? read.value : null];
      }),
    );
    setSettings(conversation, { ...settings, ...numbers });
    onClose();
  };
  const clear = (): void => {
    set(defaults);
    setTyped(typedOf(defaults));
  };
  return (
    <Dialog
      title={conversation ? "Settings of this conversation" : "Settings of new conversations"}
      onClose={onClose}
      actions={
        <>
          <Button kind="quiet" onClick={clear}>Clear all</Button>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" disabled={!isGood} onClick={save}>Save</Button>
        </>
      }
    >
      <Area label="System prompt" value={settings.system} maxLength={100_000} placeholder="Left to the model" onInput={(event) => set({ ...settings, system: event.currentTarget.value })} />
      <div class="fields">
        {fields.map(({ setting, label, hint }) => (
          <Field
            key={setting}
            label={label}
            hint={hint}
            error={errorOf(setting)}
            inputMode="decimal"
            placeholder="Left to the model"
            value={typed[setting]}
            onInput={(event) => setTyped({ ...typed, [setting]: event.currentTarget.value })}
          />
        ))}
        <Field
          label="Keep loaded for"
          hint="Like 10m, 1h, 0 or -1 (for ever)"
          error={aliveError}
          placeholder="As Ollama does"
          value={settings.keepAlive}
          onInput={(event) => set({ ...settings, keepAlive: event.currentTarget.value })}
        />
        <Select
          label="Thinking"
          hint="For models that can"
          value={settings.think}
          options={thinks.map((think) => ({ value: think, label: thinkLabels[think] }))}
          onChange={(think) => set({ ...settings, think: think as Think })}
        />
      </div>
    </Dialog>
  );
}

function typedOf(settings: Settings): Record<NumberSetting, string> {
  const text = (value: number | null): string => (value === null ? "" : String(value));
  return { temperature: text(settings.temperature), topP: text(settings.topP), contextTokens: text(settings.contextTokens), seed: text(settings.seed) };
}
