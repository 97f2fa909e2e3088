// What the keys view knows and says, without a browser: what is typed into the form becomes what the relay is asked for.
import type { components } from "../relay";

export type Key = components["schemas"]["Key"];
export type NewKey = components["schemas"]["NewKey"];
export type KeyRequest = components["schemas"]["KeyRequest"];

export interface KeyForm {
  name: string;
  isManager: boolean;
  /** Patterns, apart by commas, spaces or lines. */
  models: string;
  /** Empty: any. */
  device: string;
  expires: Expiry;
  /** Requests a minute; empty: no bound of its own. */
  rate: string;
}
export type Expiry = "never" | "1" | "7" | "30" | "90" | "365";

export const emptyForm: KeyForm = { name: "", isManager: false, models: "", device: "", expires: "90", rate: "" };

export const expiries: { value: Expiry; label: string }[] = [
  { value: "1", label: "in a day" },
  { value: "7", label: "in a week" },
  { value: "30", label: "in 30 days" },
  { value: "90", label: "in 90 days" },
  { value: "365", label: "in a year" },
  { value: "never", label: "when it is revoked" },
];

export type FormErrors = Partial<Record<"name" | "models" | "rate", string>>;

const day_seconds = 86_400;
const most_models = 64;

/** What the relay is asked for, or what is wrong, each beside its field. */
export function requestOf(form: KeyForm): { request: KeyRequest } | { errors: FormErrors } {
  const errors: FormErrors = {};
  const name = form.name.trim();
  if (name === "") errors.name = "Give it a name, so that you know it again.";
  else if (byteLength(name) > 64) errors.name = "This is too long: 64 bytes at most.";
  const models = patternsOf(form.models);
  if (models.length > most_models) errors.models = `${most_models} patterns at most.`;
  else if (models.some((pattern) => byteLength(pattern) > 256)) errors.models = "One of these is too long.";
  const rate = form.rate.trim();
  if (rate !== "" && !/^[1-9]\d{0,8}$/.test(rate)) errors.rate = "A whole number from 1 on, or nothing.";
  if (Object.keys(errors).length > 0) return { errors };
  const request: KeyRequest = { name, kind: "api", scopes: form.isManager ? ["infer", "manage"] : ["infer"], models };
  if (form.device !== "") request.device = form.device;
  if (rate !== "") request.requests_per_minute = Number(rate);
  if (form.expires !== "never") request.expires_in_seconds = Number(form.expires) * day_seconds;
  return { request };
}

/** Patterns of models, each once, in their order. */
export function patternsOf(typed: string): string[] {
  return [...new Set(typed.split(/[\s,]+/).filter((pattern) => pattern !== ""))];
}

/** What a key may do, in words, the narrowest bounds last. */
export function limitsOf(key: Pick<Key, "kind" | "scopes" | "models" | "device" | "requests_per_minute">): string[] {
  const limits: string[] = [];
  if (key.kind === "agent") limits.push("connects a machine");
  if (key.scopes.includes("manage")) limits.push("manages models");
  if (key.models.length > 0) limits.push(`models ${key.models.join(", ")}`);
  if (key.device !== null) limits.push(`on ${key.device}`);
  if (key.requests_per_minute !== null) limits.push(`${key.requests_per_minute} requests a minute`);
  return limits;
}

export type Ending = { text: "never" } | { text: "ended" } | { text: "soon"; left_ms: number } | { text: "later"; left_ms: number };

/** When a key ends; soon is within a week. */
export function endingOf(expires_unix_seconds: number | null, now_ms: number): Ending {
  if (expires_unix_seconds === null) return { text: "never" };
  const left_ms = expires_unix_seconds * 1000 - now_ms;
  if (left_ms <= 0) return { text: "ended" };
  return { text: left_ms < 7 * day_seconds * 1000 ? "soon" : "later", left_ms };
}

function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
