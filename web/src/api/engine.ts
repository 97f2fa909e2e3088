// What answers on a machine: Ollama, or a server that speaks only OpenAI's API (llama.cpp, LM Studio, vLLM), and what it holds.
//
// Both lists come in Ollama's shape, so that whoever reads them need not know. A machine that was found to speak OpenAI's API is asked
// in that until it does not answer in it: Ollama would, too.
import { call } from "./client";
import { ApiError } from "./errors";

export type Dialect = "ollama" | "openai";

export interface Holdings {
  /** As `/api/tags` answers. */
  tags: unknown;
  /** As `/api/ps` answers. */
  running: unknown;
}

const dialects = new Map<string, Dialect>();
const most_devices = 500;
const most_models = 500;

/** The API in which a machine is asked; Ollama's until its list was seen. */
export function dialectOf(device: string): Dialect {
  return dialects.get(device) ?? "ollama";
}

/** Sees to it that it is known how a machine is asked. What goes wrong with that is for the question itself to tell. */
export async function learnDialect(device: string, signal: AbortSignal): Promise<void> {
  if (!dialects.has(device)) await holdingsOf(device, signal).catch(() => undefined);
}

/** Asks a machine for its models, in whichever way it answers. A device that has gone says so at once; nothing is tried again. */
export async function holdingsOf(device: string, signal?: AbortSignal): Promise<Holdings> {
  const ask = (path: string): Promise<unknown> => call(`devices/${encodeURIComponent(device)}/${path}`, { retry: false, ...(signal ? { signal } : {}) });
  if (dialectOf(device) === "ollama") {
    const [tags, running] = await Promise.all([ask("api/tags").catch(unlessUnknown), ask("api/ps").catch(unlessUnknown)]);
    if (isOllamas(tags)) {
      keep(device, "ollama");
      return { tags, running };
    }
  }
  const tags = await ask("v1/models").then(asTags, (error: unknown) => {
    if (isUnknown(error)) dialects.delete(device);
    throw error;
  });
  keep(device, "openai");
  // Such a server offers what it can answer with now; it has no word for what lies on its disk.
  return { tags, running: tags };
}

function keep(device: string, dialect: Dialect): void {
  if (dialects.size >= most_devices && !dialects.has(device)) dialects.clear();
  dialects.set(device, dialect);
}

/** The list of `/v1/models` in the shape of `/api/tags`. */
export function asTags(listed: unknown): { models: { name: string; size?: number }[] } {
  const all = record(listed)["data"];
  const models = (Array.isArray(all) ? all : []).slice(0, most_models).flatMap((each) => {
    const { id, meta } = record(each);
    const size = record(meta)["size"]; // llama.cpp says it
    return typeof id === "string" && id !== "" ? [{ name: id, ...(typeof size === "number" ? { size } : {}) }] : [];
  });
  return { models };
}

/** llama.cpp's own server answers under Ollama's path with a list of OpenAI's, and LM Studio with an error in a success. */
function isOllamas(tags: unknown): boolean {
  const { models, object } = record(tags);
  return Array.isArray(models) && object === undefined;
}

function unlessUnknown(error: unknown): null {
  if (isUnknown(error)) return null;
  throw error;
}

/** True where the machine's server does not know the path. A refusal of the relay's or the agent's says nothing of that server. */
function isUnknown(error: unknown): boolean {
  const fault = error instanceof ApiError ? error.fault : null;
  return fault !== null && (fault.status === 404 || fault.status === 405) && (fault.kind === "upstream" || fault.kind === "unreadable");
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
