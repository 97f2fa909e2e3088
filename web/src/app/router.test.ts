import { expect, test } from "vitest";
import { formatRoute, parseRoute, type Route } from "./router";

test("every view's address leads back to it", () => {
  const routes: Route[] = [
    { view: "chat", conversation: null },
    { view: "chat", conversation: "0b9f-1" },
    { view: "devices", confirm: null },
    { view: "devices", confirm: "ABCD-EFGH" },
    { view: "keys" },
    { view: "requests" },
  ];
  for (const route of routes) expect(parseRoute(formatRoute(route))).toEqual(route);
});

test("what is not known is a new chat", () => {
  for (const hash of ["", "#", "#/", "#/nowhere", "#/chat/..%2f", "#/chat/a b", "#/chat/" + "a".repeat(65)]) {
    expect(parseRoute(hash)).toEqual({ view: "chat", conversation: null });
  }
});

test("a sign-in link is read from the address, and not written into one", () => {
  const route = parseRoute("#/signin?link=c2l_secret&error=denied");
  expect(route).toEqual({ view: "signin", link: "c2l_secret", error: "denied" });
  expect(formatRoute(route)).toBe("#/signin");
});
