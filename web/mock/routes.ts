// What the mock answers: one user, two devices. What a question says decides how it is answered; see `chat`.
import type { IncomingMessage, ServerResponse } from "node:http";
import { account } from "./account.ts";
import { chat } from "./chat.ts";

const ways = { link: true, token: true, issuers: [] };
let isSignedIn = true;
const devices = { desk: ["demo:latest", "llava:7b", "slow:70b"], attic: ["tiny:1b"], studio: [] };
const loaded = new Set(["demo:latest"]);

export async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, search } = new URL(request.url ?? "/", "http://mock");
  const path = pathname.slice("/web/v1/".length);
  const body = await read(request);
  if (request.headers["x-c2l-web"] !== "1") return refuse(response, 403, "permission_denied", "the header x-c2l-web is missing");
  if (path === "session") return session(request.method ?? "GET", response);
  if (!isSignedIn) return refuse(response, 401, "unauthenticated", "no session");
  if (path.startsWith("account/")) return account(request.method ?? "GET", path.slice("account/".length) + search, body, response);
  const [, name, route] = /^devices\/([^/]+)\/api\/(\w+)$/.exec(path) ?? [];
  const names = devices[name as keyof typeof devices];
  if (!names || !route) return refuse(response, 404, "route_unknown", "the mock does not know this path");
  upstream(route, names, body, response);
}

function upstream(route: string, names: string[], body: string, response: ServerResponse): void {
  const details = { parameter_size: "3.2B", quantization_level: "Q4_K_M" };
  const asked = body ? (JSON.parse(body) as { model: string; messages: { content: string }[] }) : null;
  if (route === "tags") return json(response, 200, { models: names.map((name) => ({ name, size: 4_661_224_676, details })) });
  if (route === "version") return json(response, 200, { version: "0.12.6" });
  if (route === "ps") return json(response, 200, { models: names.filter((name) => loaded.has(name)).map((name) => ({ name, size: 5_900_000_000 })) });
  if (route === "show") return json(response, 200, { capabilities: asked?.model.startsWith("llava") ? ["completion", "vision"] : ["completion"] });
  if (route !== "chat" || !asked) return refuse(response, 404, "route_unknown", "the mock does not know this path");
  if (asked.messages.at(-1)?.content.includes("expire")) {
    isSignedIn = false;
    return refuse(response, 401, "unauthenticated", "no session");
  }
  chat(asked, loaded, response);
}

function session(method: string, response: ServerResponse): void {
  if (method === "POST") isSignedIn = true;
  if (method === "DELETE") isSignedIn = false;
  if (method === "DELETE") return void response.writeHead(204).end();
  const signedIn = { user: "ada", issuer: "c2l", expires_unix_seconds: Math.floor(Date.now() / 1000) + 43_200, device_login: true, public_url: null };
  json(response, 200, { signed_in: isSignedIn, ways, build: "mock", ...(isSignedIn ? signedIn : {}) });
}

export function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

export function refuse(response: ServerResponse, status: number, code: string, error: string): void {
  json(response, status, { error, code, origin: "relay", retry_safe: true, request_id: "mock-1" });
}

async function read(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const piece of request) text += String(piece);
  return text;
}
