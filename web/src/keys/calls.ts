// What the keys view asks of the relay.
import { call } from "../api/client";
import type { Key, KeyRequest, NewKey } from "./state";

export async function listKeys(signal: AbortSignal): Promise<Key[]> {
  return (await call<{ keys: Key[] }>("account/keys", { signal, retry: false })).keys;
}

export function makeKey(request: KeyRequest): Promise<NewKey> {
  return call<NewKey>("account/keys", { method: "POST", body: request });
}

export function rotateKey(id: string, overlap_seconds: number): Promise<NewKey> {
  return call<NewKey>(`account/keys/${encodeURIComponent(id)}/rotate`, { method: "POST", body: { overlap_seconds } });
}

export async function revokeKey(id: string): Promise<void> {
  await call(`account/keys/${encodeURIComponent(id)}`, { method: "DELETE" });
}
