// How a conversation is to be answered: system prompt and parameters. What is empty is left to the model.

export type Think = "default" | "off" | "on" | "low" | "medium" | "high";

export interface Settings {
  system: string;
  temperature: number | null;
  topP: number | null;
  contextTokens: number | null;
  seed: number | null;
  /** As Ollama takes it: a number of seconds, or a duration like `5m`; empty is its own default. */
  keepAlive: string;
  think: Think;
}

export const defaults: Settings = { system: "", temperature: null, topP: null, contextTokens: null, seed: null, keepAlive: "", think: "default" };
export const thinks: readonly Think[] = ["default", "off", "on", "low", "medium", "high"];
const longest_system_chars = 100_000;

type Bounds = { from: number; to: number; whole: boolean; what: string };
const numbers = {
  temperature: { from: 0, to: 2, whole: false, what: "A number from 0 to 2" },
  topP: { from: 0, to: 1, whole: false, what: "A number from 0 to 1" },
  contextTokens: { from: 256, to: 4_194_304, whole: true, what: "A whole number from 256" },
  seed: { from: -2_147_483_648, to: 2_147_483_647, whole: true, what: "A whole number" },
} satisfies Record<string, Bounds>;
export type NumberSetting = keyof typeof numbers;

/** The number that was typed, null for none, or what is wrong with it. */
export function readNumber(setting: NumberSetting, typed: string): { value: number | null } | { error: string } {
  const bounds: Bounds = numbers[setting];
  const text = typed.trim().replace(",", ".");
  if (text === "") return { value: null };
  const value = Number(text);
  const isGood = Number.isFinite(value) && value >= bounds.from && value <= bounds.to && (!bounds.whole || Number.isInteger(value));
  return isGood ? { value } : { error: bounds.what };
}

/** What is wrong with a typed time to keep the model, if anything is. */
export function keepAliveError(typed: string): string | null {
  const text = typed.trim();
  return text === "" || /^-?\d+$/.test(text) || /^-?(\d+(\.\d+)?(ms|s|m|h))+$/.test(text) ? null : "Like 10m, 1h, 0 or -1 (for ever)";
}

/** Settings out of anything, as an import or an older version of this page left them; what is no good is left to the model. */
export function readSettings(value: unknown): Settings {
  const from = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const number = (setting: NumberSetting): number | null => {
    if (typeof from[setting] !== "number") return null;
    const read = readNumber(setting, String(from[setting]));
    return "value" in read ? read.value : null;
  };
  const keepAlive = typeof from["keepAlive"] === "string" ? from["keepAlive"] : "";
  return {
    system: typeof from["system"] === "string" ? from["system"].slice(0, longest_system_chars) : "",
    temperature: number("temperature"),
    topP: number("topP"),
    contextTokens: number("contextTokens"),
    seed: number("seed"),
    keepAlive: keepAliveError(keepAlive) === null ? keepAlive : "",
    think: thinks.find((think) => think === from["think"]) ?? "default",
  };
}
