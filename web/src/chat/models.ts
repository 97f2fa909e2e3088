// Which models there are, on which device, and whether they are ready: out of what devices say of themselves. Plain; `modelList` asks.

export type ModelState = "loaded" | "on disk" | "device offline";

export interface Model {
  device: string;
  name: string;
  state: ModelState;
  /** Like `3.2B · Q4_K_M`; empty when not told. */
  details: string;
  /** Whether it runs at ollama.com and not on the device. */
  isCloud: boolean;
}

/** What is known of one device. `tags` is null when it could not be asked now. */
export interface DeviceModels {
  device: string;
  isOnline: boolean;
  models: { name: string; details: string; isCloud: boolean }[] | null;
  loaded: string[];
  error: unknown;
}

const most_models = 500;

/** The models of an answer of `/api/tags`. */
export function readTags(value: unknown): { name: string; details: string; isCloud: boolean }[] {
  return list(value).flatMap((each) => {
    const name = nameOf(each);
    if (!name) return [];
    const details = record(each["details"]);
    const parts = [details["parameter_size"], details["quantization_level"]].filter((part) => typeof part === "string" && part && part !== "unknown");
    return [{ name, details: parts.join(" · "), isCloud: typeof each["remote_host"] === "string" || /[:-]cloud$/.test(name) }];
  });
}

/** The names in an answer of `/api/ps`. */
export function readLoaded(value: unknown): string[] {
  return list(value).map(nameOf).filter((name) => name !== "");
}

/** What `/api/show` says the model can do; null when it does not say. */
export function readCapabilities(value: unknown): string[] | null {
  const told = record(value)["capabilities"];
  return Array.isArray(told) ? told.filter((each): each is string => typeof each === "string") : null;
}

/** All models to choose from: devices in their order, loaded ones first. `remembered` fills in for devices that cannot be asked. */
export function mergeModels(devices: DeviceModels[], remembered: Record<string, string[]>): Model[] {
  const models: Model[] = [];
  for (const { device, isOnline, models: told, loaded } of devices) {
    const all = told ?? (remembered[device] ?? []).map((name) => ({ name, details: "", isCloud: false }));
    const state = (name: string): ModelState => (!isOnline ? "device offline" : loaded.includes(name) ? "loaded" : "on disk");
    const ofDevice = all.map((model) => ({ device, ...model, state: state(model.name) }));
    models.push(...ofDevice.sort((a, b) => Number(b.state === "loaded") - Number(a.state === "loaded") || a.name.localeCompare(b.name)));
  }
  const known = new Set(devices.map(({ device }) => device));
  for (const [device, names] of Object.entries(remembered)) {
    if (!known.has(device)) models.push(...names.map((name) => ({ device, name, details: "", isCloud: false, state: "device offline" as const })));
  }
  return models;
}

/** The ones whose name or device has every word of `query`. */
export function filterModels(models: Model[], query: string): Model[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return models.filter(({ name, device }) => words.every((word) => `${name} ${device}`.toLowerCase().includes(word)));
}

/** Where the marked one stands among `found`, wherever a list that was asked for anew has moved it; the first, when it is not there. */
export function markedIn(found: Model[], marked: { device: string; model: string } | null): number {
  const at = found.findIndex(({ device, name }) => device === marked?.device && name === marked.model);
  return at < 0 && found.length > 0 ? 0 : at;
}

/** The one to begin with: the one used last if it can answer, else a loaded one, else the first that can. */
export function pickModel(models: Model[], last: { device: string; model: string } | null): { device: string; model: string } | null {
  const online = models.filter(({ state }) => state !== "device offline");
  const used = last && online.find(({ device, name }) => device === last.device && name === last.model);
  const best = used ?? online.find(({ state }) => state === "loaded") ?? online[0];
  return best ? { device: best.device, model: best.name } : null;
}

function list(value: unknown): Record<string, unknown>[] {
  const models = record(value)["models"];
  return Array.isArray(models) ? models.slice(0, most_models).map(record) : [];
}
function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
function nameOf(from: Record<string, unknown>): string {
  const name = from["name"] ?? from["model"];
  return typeof name === "string" ? name.slice(0, 300) : "";
}
