import { afterEach, beforeEach, expect, test, vi } from "vitest";

const ways = { link: true, token: true, issuers: [] };
const signedIn = (user: string) => ({ signed_in: true, user, issuer: "c2l", ways, build: "b" });
const signedOut = { signed_in: false, ways, build: "b" };

/** Who the relay takes the browser for. */
let now: object;
let asked: string[];
let reload: ReturnType<typeof vi.fn>;
let modules: { session: typeof import("./session"); client: typeof import("./client") };

beforeEach(async () => {
  vi.resetModules(); // each test is a page of its own
  now = signedIn("ada");
  asked = [];
  reload = vi.fn();
  vi.stubGlobal("location", { reload });
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    asked.push(`${init.method} ${url}`);
    const isSignedIn = (now as { signed_in: boolean }).signed_in;
    if (url === "/web/v1/session") return Promise.resolve(init.method === "DELETE" ? new Response(null, { status: 204 }) : Response.json(now));
    return Promise.resolve(isSignedIn ? Response.json({ done: true }) : Response.json({ error: "no session", code: "unauthenticated" }, { status: 401 }));
  });
  modules = { session: await import("./session"), client: await import("./client") };
  await modules.session.refreshSession();
});
afterEach(() => void vi.unstubAllGlobals());

async function expired(): Promise<{ sent: Promise<unknown>; abort: AbortController }> {
  now = signedOut;
  const abort = new AbortController();
  const sent = modules.client.call("account/keys", { method: "POST", body: {}, signal: abort.signal });
  sent.catch(() => undefined);
  await vi.waitFor(() => expect(modules.session.session.value.phase).toBe("signed_out"));
  return { sent, abort };
}

test("a session that ends in the middle of work asks for a sign-in, and then goes on", async () => {
  const { sent } = await expired();
  expect(modules.session.session.value).toMatchObject({ phase: "signed_out", expired: true });
  now = signedIn("ada");
  await modules.session.signInWith({ token: "t" });
  expect(await sent).toEqual({ done: true });
  expect(asked.filter((each) => each === "POST /web/v1/account/keys").length).toBe(2);
});

test("nothing of one user is sent as another", async () => {
  await expired();
  now = signedIn("eve");
  await modules.session.signInWith({ token: "t" });
  expect(reload).toHaveBeenCalledOnce();
  expect(asked.filter((each) => each === "POST /web/v1/account/keys").length).toBe(1);
});

test("what waits for a sign-in can be given up", async () => {
  const { sent, abort } = await expired();
  abort.abort();
  await expect(sent).rejects.toMatchObject({ name: "AbortError" });
});

test("who signs out is not asked to sign in over the page", async () => {
  now = signedOut;
  await modules.session.signOut();
  expect(asked).toContain("DELETE /web/v1/session");
  expect(modules.session.session.value).toMatchObject({ phase: "signed_out", expired: false });
});
