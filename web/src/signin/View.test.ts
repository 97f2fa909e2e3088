// @vitest-environment jsdom
import { h, render } from "preact";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { session } from "../api/session";
import { route } from "../app/navigation";
import { App } from "../app/App";

const ways = { link: true, token: true, issuers: [] };
let box: HTMLElement;
let shown: string[];
let answer: () => Response;

beforeEach(() => {
  shown = [];
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    if (init.method === "POST") shown.push(`${url} ${String(init.body)}`);
    return Promise.resolve(init.method === "POST" ? answer() : Response.json({ signed_in: false, ways, build: "b" }));
  });
  session.value = { phase: "signed_out", answer: { signed_in: false, ways, build: "b" }, expired: false };
  route.value = { view: "signin", link: "a-secret", error: null };
  box = document.body.appendChild(document.createElement("div"));
  render(h(App, {}), box);
});
afterEach(() => {
  render(null, box);
  box.remove();
  vi.unstubAllGlobals();
});

const button = (): HTMLButtonElement | undefined => [...box.querySelectorAll("button")].find((each) => each.textContent === `Sign in to ${location.host}`);

test("a link that is opened signs nobody in until somebody presses the button", async () => {
  answer = () => Response.json({ error: "not any more", code: "unauthenticated" }, { status: 401 });
  await vi.waitFor(() => expect(button()).toBeDefined());
  document.dispatchEvent(new Event("visibilitychange")); // whatever else the page asks then is no use of the link
  await vi.waitFor(() => expect(box.querySelector("section")!.getAttribute("aria-busy")).toBe("false"));
  expect(shown).toEqual([]);
  button()!.click();
  await vi.waitFor(() => expect(box.querySelector("[role=alert]")?.textContent).toContain("not good any more"));
  expect(shown).toEqual(['/web/v1/session {"link":"a-secret"}']);
  expect(button()).toBeUndefined();
  expect(box.querySelector("input[type=password]")).not.toBeNull();
});

test("a link that the relay has not seen can be pressed again", async () => {
  answer = () => Response.json({ error: "leaving", code: "draining" }, { status: 503 });
  await vi.waitFor(() => expect(button()).toBeDefined());
  button()!.click();
  await vi.waitFor(() => expect(box.querySelector("[role=alert]")?.textContent).toContain("does not answer"));
  expect(button()).toBeDefined();
});
