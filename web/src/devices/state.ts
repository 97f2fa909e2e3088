// What the devices view knows and says, without a browser.
import type { components } from "../relay";

export type Device = components["schemas"]["Device"];
export type OfflineDevice = components["schemas"]["OfflineDevice"];
export type Login = components["schemas"]["Login"];
export interface Devices {
  devices: Device[];
  offline: OfflineDevice[];
}

/** One model of a machine. */
export interface Model {
  name: string;
  size_bytes: number | null;
  /** Bytes that it takes in memory now; null when it is on disk alone. */
  loaded_bytes: number | null;
}

/** What somebody sees of a device's name: their own label if they gave one. */
export function titleOf(device: { name: string; label: string | null }): string {
  return device.label ?? device.name;
}

/** How it is connected, as a person says it. */
export function transportName(transport: Device["transport"]): string {
  return transport === "grpc" ? "gRPC over HTTP/2" : "HTTP/2 in a WebSocket";
}

const code_alphabet = /[^0-9A-Z]/g;

/** A code as the relay takes it: letters and digits, in two halves. Null while it cannot be one. */
export function codeOf(typed: string): string | null {
  const letters = typed.toUpperCase().replace(code_alphabet, "");
  return letters.length === 8 ? `${letters.slice(0, 4)}-${letters.slice(4)}` : null;
}

const most_label_bytes = 64;

/** What a typed label becomes: null for none. An error is a sentence. */
export function labelOf(typed: string): { label: string | null } | { error: string } {
  const label = typed.trim();
  if (label === "") return { label: null };
  if (new TextEncoder().encode(label).length > most_label_bytes) return { error: "This is too long: 64 bytes at most." };
  if (/[\u0000-\u001f\u007f-\u009f]/.test(label)) return { error: "There are characters in it that cannot be shown." };
  return { label };
}

/** Models of `/api/tags` and `/api/ps`, those in memory first, then by name. What is not understood is left out. */
export function modelsOf(tags: unknown, running: unknown): Model[] {
  const models = new Map<string, Model>();
  for (const each of list(tags)) {
    const name = nameOf(each);
    if (name) models.set(name, { name, size_bytes: number(each["size"]), loaded_bytes: null });
  }
  for (const each of list(running)) {
    const name = nameOf(each);
    if (!name) continue;
    const known = models.get(name);
    const loaded_bytes = number(each["size"]) ?? number(each["size_vram"]) ?? 0;
    models.set(name, { name, size_bytes: known?.size_bytes ?? null, loaded_bytes });
  }
  const rank = (model: Model): number => (model.loaded_bytes === null ? 1 : 0);
  return [...models.values()].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/** The lines that add a machine, for a relay at this address. */
export function loginLines(origin: string): string {
  return `c2l login --relay ${origin} && c2l agent`;
}

/** Under which address machines and programs reach the relay: as its operator says, else as this page was reached. */
export function relayOrigin(publicUrl: string | null | undefined, pageOrigin: string): string {
  return (publicUrl ?? pageOrigin).replace(/\/+$/, "");
}

function list(answer: unknown): Record<string, unknown>[] {
  const models = (answer as { models?: unknown } | null)?.models;
  return Array.isArray(models) ? models.filter((each): each is Record<string, unknown> => typeof each === "object" && each !== null) : [];
}

function nameOf(model: Record<string, unknown>): string | null {
  const name = model["name"] ?? model["model"];
  return typeof name === "string" && name !== "" ? name : null;
}

function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
