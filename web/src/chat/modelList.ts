// The models of the user's devices, asked for while the page is seen. What a device said last is remembered, so that its models are
// still named while it is away.
import { computed, signal } from "@preact/signals";
import { call } from "../api/client";
import { dialectOf, holdingsOf } from "../api/engine";
import { ApiError } from "../api/errors";
import { readOwn, writeOwn } from "../app/storage";
import { mergeModels, readCapabilities, readLoaded, readTags, type DeviceModels, type ModelState } from "./models";

const every_ms = 15_000;
const memory = "models";

const devices = signal<DeviceModels[]>([]);
const remembered = signal<Record<string, string[]>>({});
/** `asking` until the first answer. */
export const listState = signal<{ phase: "asking" } | { phase: "known" } | { phase: "failed"; error: unknown }>({ phase: "asking" });
export const models = computed(() => mergeModels(devices.value, remembered.value));
export const onlineDevices = computed(() => devices.value.filter(({ isOnline }) => isOnline).map(({ device }) => device));

let refreshing: Promise<void> | null = null;

/** Asks all devices now; at most once at a time. Never rejects. */
export function refreshModels(): Promise<void> {
  return (refreshing ??= refresh().finally(() => (refreshing = null)));
}

/** Keeps the list up to date while the page is seen; what it returns ends that. */
export function watchModels(): () => void {
  remembered.value = { ...recall(), ...remembered.peek() };
  const tick = (): void => void (document.visibilityState === "visible" && refreshModels());
  const timer = setInterval(tick, every_ms);
  document.addEventListener("visibilitychange", tick);
  addEventListener("online", tick);
  tick();
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", tick);
    removeEventListener("online", tick);
  };
}

export function stateOf(device: string, model: string): ModelState | null {
  return models.value.find((each) => each.device === device && each.name === model)?.state ?? null;
}

const capabilities = new Map<string, Promise<string[] | null>>();
const most_capabilities = 500;

/** What a model can do; null when that is not known. Asked once for each. */
export function capabilitiesOf(device: string, model: string): Promise<string[] | null> {
  if (dialectOf(device) === "openai") return Promise.resolve(null); // nobody to ask
  const key = JSON.stringify([device, model]);
  const known = capabilities.get(key);
  if (known) return known;
  const asked = call<unknown>(`devices/${encodeURIComponent(device)}/api/show`, { method: "POST", body: { model } }).then(readCapabilities);
  const kept = asked.catch(() => {
    capabilities.delete(key); // asked again when it matters again
    return null;
  });
  if (capabilities.size >= most_capabilities) capabilities.clear();
  capabilities.set(key, kept);
  return kept;
}

async function refresh(): Promise<void> {
  try {
    const answer = await call<{ devices: { name: string; session_id?: string | null; is_connected?: boolean }[] }>("account/devices");
    devices.value = await Promise.all(
      answer.devices.map(({ name, session_id, is_connected }) => ask(name, is_connected ?? (session_id !== null && session_id !== ""))),
    );
    remember();
    listState.value = { phase: "known" };
  } catch (error) {
    if (listState.value.phase !== "known") listState.value = { phase: "failed", error };
  }
}

async function ask(device: string, isOnline: boolean): Promise<DeviceModels> {
  if (!isOnline) return { device, isOnline, models: null, loaded: [], error: null };
  try {
    const { tags, running } = await holdingsOf(device);
    return { device, isOnline: true, models: readTags(tags), loaded: readLoaded(running), error: null };
  } catch (error) {
    const isGone = error instanceof ApiError && (error.fault.kind === "agent_offline" || error.fault.kind === "device_away");
    return { device, isOnline: !isGone, models: null, loaded: [], error };
  }
}

function remember(): void {
  const told = devices.value.filter(({ models }) => models !== null).map(({ device, models }) => [device, models!.map(({ name }) => name)] as const);
  if (told.length === 0) return;
  remembered.value = Object.fromEntries([...Object.entries(remembered.value), ...told].slice(-50));
  writeOwn(memory, JSON.stringify(remembered.value));
}

function recall(): Record<string, string[]> {
  try {
    const kept: unknown = JSON.parse(readOwn(memory) ?? "{}");
    if (typeof kept !== "object" || kept === null) return {};
    const good = Object.entries(kept).filter((entry): entry is [string, string[]] => Array.isArray(entry[1]) && entry[1].every((name) => typeof name === "string"));
    return Object.fromEntries(good);
  } catch {
    return {};
  }
}
