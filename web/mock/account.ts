// What the mock answers below /web/v1/account: devices, keys, logins and requests that change like real ones.
import type { ServerResponse } from "node:http";
import type { components } from "../src/relay.d.ts";
import { json, refuse } from "./routes.ts";

type Schemas = components["schemas"];
const second = (): number => Math.floor(Date.now() / 1000);

const devices: Schemas["Device"][] = [
  {
    name: "desk", label: "Desk upstairs", session_id: "s-1", connected_unix_seconds: second() - 93_000, build: "c2l 0.1.0 (1a2b3c4)", transport: "grpc",
    address: "192.0.2.17", active_streams: 1, total_streams: 1284, is_draining: false,
  },
  {
    name: "attic", label: null, session_id: "s-2", connected_unix_seconds: second() - 340, build: "c2l 0.1.0 (1a2b3c4)", transport: "websocket",
    address: "2001:db8::7:1", active_streams: 0, total_streams: 3, is_draining: false,
  },
];
const offline: Schemas["OfflineDevice"][] = [{ name: "laptop", label: null, last_seen_unix_seconds: second() - 7400 }];

let keys: Schemas["Key"][] = [
  key("Ab3dE6gH9j", "laptop-scripts", { last_used_unix_seconds: second() - 40 }),
  key("Kk3dE6gH9k", "ci", { models: ["qwen3:*"], device: "desk", requests_per_minute: 30, expires_unix_seconds: second() + 200_000 }),
];

function key(id: string, name: string, more: Partial<Schemas["Key"]> = {}): Schemas["Key"] {
  return {
    id, name, kind: "api", scopes: ["infer"], models: [], device: null, requests_per_minute: null, created_unix_seconds: second() - 864_000,
    expires_unix_seconds: second() + 6_000_000, last_used_unix_seconds: null, ...more,
  };
}

const began_ms = Date.now();
const models = ["qwen3:8b", "llama3.2:latest", null];
const errors = [null, null, null, null, "agent_offline", null, null, "timeout", null, "caller_gone", null] as const;
const statuses = { agent_offline: 503, timeout: 504, caller_gone: 200 };

/** One request every half a minute of the last hour, and one every three seconds from now on; the newest still runs. */
function requests(after: number): { requests: Schemas["Request"][]; next: number; now_unix_ms: number } {
  const newest = 120 + Math.floor((Date.now() - began_ms) / 3000);
  const all = Array.from({ length: newest }, (_, at): Schemas["Request"] => {
    const seq = at + 1;
    const started_unix_ms = seq <= 120 ? began_ms - (120 - seq) * 30_000 * ((seq % 7) / 7) : began_ms + (seq - 120) * 3000;
    const error = errors[seq % errors.length] ?? null;
    const isRunning = seq === newest;
    return {
      seq, id: `01J9Z-${seq}`, started_unix_ms, device: error === "agent_offline" ? null : seq % 4 === 0 ? "attic" : "desk",
      route: ["/api/chat", "/v1/chat/completions", "/api/embed", "/v1/messages"][seq % 4]!, method: "POST", model: models[seq % 3] ?? null,
      status: isRunning ? 200 : error ? statuses[error] : 200, error: isRunning ? null : error, origin: error === "timeout" ? "upstream" : error ? "relay" : null,
      first_byte_ms: 40 + (seq % 9) * 130, duration_ms: isRunning ? null : 400 + (seq % 13) * 900, bytes_up: 300 + seq * 7, bytes_down: 2000 + seq * 311,
      chunks: 20 + (seq % 50) * 9, credential: seq % 3 === 0 ? "key:Ab3dE6gH9j" : "token:9f31c2",
    };
  });
  return { requests: all.filter(({ seq }) => seq >= after).slice(-200), next: newest, now_unix_ms: Date.now() };
}

export function account(method: string, path: string, body: string, response: ServerResponse): void {
  const [what, id = "", deed = ""] = path.split("?")[0]!.split("/").map(decodeURIComponent);
  const asked = body ? (JSON.parse(body) as Record<string, unknown>) : {};
  const known = [...devices, ...offline].find(({ name }) => name === id);
  switch (`${method} ${what}${deed ? `/${deed}` : ""}`) {
    case "GET devices":
      return json(response, 200, { devices, offline });
    case "PUT devices/label":
      if (known) known.label = asked["label"] as string | null;
      return json(response, 200, { device: id, label: asked["label"] });
    case "POST devices/disconnect":
      return json(response, 200, { device: id, sessions: 1 });
    case "DELETE devices":
      devices.splice(0, devices.length, ...devices.filter(({ name }) => name !== id));
      offline.splice(0, offline.length, ...offline.filter(({ name }) => name !== id));
      return json(response, 200, { removed: id, sessions: 1, keys: 0, logins: 1 });
    case "GET keys":
      return json(response, 200, { keys });
    case "POST keys":
    case "POST keys/rotate": {
      const like = keys.find((each) => each.id === id);
      const made = { ...like, ...key(Math.random().toString(36).slice(2, 12).padEnd(10, "0"), String(asked["name"] ?? like?.name)), created_unix_seconds: second() };
      keys = [...keys, made];
      return json(response, 201, { ...made, key: `c2l_${"x7Qm2".repeat(8)}` });
    }
    case "DELETE keys":
      keys = keys.filter((each) => each.id !== id);
      return json(response, 200, { revoked: id });
    case "GET requests":
      return json(response, 200, requests(Number(new URLSearchParams(path.split("?")[1]).get("after") ?? 0)));
    case "POST logins":
      return login(id, String(asked["user_code"]), response);
    case "POST sign-out":
      return json(response, 200, { not_before_unix_seconds: second(), keys_revoked: asked["keys"] === true });
    default:
      return refuse(response, 404, "route_unknown", "the mock does not know this path");
  }
}

/** A machine waits under BCDF-GHJK; ZZZZ-ZZZZ is a guess too many. */
function login(word: string, code: string, response: ServerResponse): void {
  if (code === "ZZZZ-ZZZZ") {
    response.setHeader("retry-after", "540");
    return refuse(response, 429, "user_over_limit", "too many wrong codes");
  }
  if (code !== "BCDF-GHJK") return refuse(response, 404, "route_unknown", "no device waits under this code");
  if (word === "approve") devices.push({ ...devices[1]!, name: "studio", session_id: "s-3", connected_unix_seconds: second() });
  json(response, 200, { device: "studio", address: "192.0.2.40", asked_unix_seconds: second() - 25 });
}
