import { afterEach, beforeEach, expect, test, vi } from "vitest";

const ways = { link: true, token: true, issuers: [] };
const signedIn = (user: string) => ({ signed_in: true, user, issuer: "c2l", ways, build: "b" });
const signedOut = { signed_in: false, ways, build: "b" };

/** Who the relay takes the browser for. */
let now: object;
let asked: string[];
let reload: ReturnType<typeof vi.fn>;
let modules: { session: typeof import("./session"); client: typeof import("./client") };

/** A browser's tabs: what one posts comes to the others, and never to itself. */
class Channel {
  static tabs = new Set<Channel>();
  onmessage: ((event: { data: unknown }) => void) | null = null;
  constructor(readonly name: string) {
    Channel.tabs.add(this);
  }
  postMessage(data: unknown): void {
    for (const tab of Channel.tabs) if (tab !== this && tab.name === this.name) tab.onmessage?.({ data });
  }
}

beforeEach(async () => {
  Channel.tabs.clear();
  vi.stubGlobal("BroadcastChannel", Channel);
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

/** Another tab of the same browser, with a page of its own. */
async function anotherTab(): Promise<typeof import("./session")> {
  vi.resetModules();
  const other = await import("./session");
  other.watchTabs();
  await other.refreshSession();
  return other;
}

test("a tab of one user does not go on as the one who has signed in in another tab", async () => {
  modules.session.watchTabs();
  const other = await anotherTab();
  expect(reload).not.toHaveBeenCalled(); // both are ada's
  now = signedOut;
  await other.signOut();
  await vi.waitFor(() => expect(modules.session.session.value.phase).toBe("signed_out"));
  now = signedIn("eve");
  const third = await anotherTab();
  expect(reload).toHaveBeenCalledTimes(2); // the two that were ada's, and not eve's own
  expect(third.session.value).toMatchObject({ phase: "signed_in", answer: { user: "eve" } });
});

test("a cookie that is another's by now is told to the tabs of the one before", async () => {
  modules.session.watchTabs();
  now = signedIn("eve");
  await anotherTab();
  expect(reload).toHaveBeenCalledOnce();
});

test("a sign-out is a sign-out in every tab, and a sign-in of the same user has them go on", async () => {
  modules.session.watchTabs();
  const other = await anotherTab();
  now = signedOut;
  await other.signOut();
  await vi.waitFor(() => expect(modules.session.session.value).toMatchObject({ phase: "signed_out", expired: false }));
  const { sent } = await expired();
  now = signedIn("ada");
  await other.signInWith({ token: "t" });
  expect(await sent).toEqual({ done: true });
  expect(modules.session.session.value.phase).toBe("signed_in");
  expect(reload).not.toHaveBeenCalled();
});

test("what no tab of ours says is not listened to", async () => {
  modules.session.watchTabs();
  const before = asked.length;
  const stranger = new Channel("c2l");
  for (const data of [{}, 5, undefined, ["x"]]) stranger.postMessage(data);
  expect(asked.length).toBe(before);
  expect(reload).not.toHaveBeenCalled();
});
