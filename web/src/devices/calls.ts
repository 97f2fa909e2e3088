// What the devices view asks of the relay.
import { call } from "../api/client";
import { holdingsOf } from "../api/engine";
import { modelsOf, type Device, type Devices, type Login, type Model } from "./state";

const at = (name: string): string => `account/devices/${encodeURIComponent(name)}`;

export function listDevices(signal: AbortSignal): Promise<Devices> {
  return call<Devices>("account/devices", { signal, retry: false });
}

export async function setLabel(name: string, label: string | null): Promise<void> {
  await call(`${at(name)}/label`, { method: "PUT", body: { label } });
}

export async function disconnect(name: string): Promise<void> {
  await call(`${at(name)}/disconnect`, { method: "POST" });
}

export async function revoke(name: string): Promise<void> {
  await call(at(name), { method: "DELETE" });
}

/** What Ollama, or what stands in its place, on a machine holds, and its version where it tells one. */
export async function lookInside(device: Device, signal: AbortSignal): Promise<{ models: Model[]; version: string | null }> {
  const path = `devices/${encodeURIComponent(device.name)}/api/version`;
  const [{ tags, running }, version] = await Promise.all([holdingsOf(device.name, signal), call<unknown>(path, { signal, retry: false }).catch(() => null)]);
  const told = (version as { version?: unknown } | null)?.version;
  return { models: modelsOf(tags, running), version: typeof told === "string" ? told : null };
}

export function describeLogin(user_code: string, signal: AbortSignal): Promise<Login> {
  return call<Login>("account/logins/describe", { method: "POST", body: { user_code }, signal });
}

export function answerLogin(word: "approve" | "deny", user_code: string): Promise<Login> {
  return call<Login>(`account/logins/${word}`, { method: "POST", body: { user_code } });
}
