import "fake-indexeddb/auto";
import { expect, test, vi } from "vitest";
import { newConversation, reduce, type Conversation } from "./conversation";
import { openDatabase, summaryOf } from "./database";
import { keepDraft, readDraft } from "./draft";
import { searchSummaries } from "./library";

function conversation(id: string, content: string, atMs: number): Conversation {
  return reduce(newConversation(id, 0, null), { type: "asked", id: `${id}-q`, parent: null, content, images: [], atMs });
}

test("what is written is there when it is opened again, and what is deleted is not", async () => {
  const first = await openDatabase("ada");
  const [a, b] = [conversation("a", "About relays", 1), conversation("b", "About models", 2)];
  await first.write([a, b]);
  const again = await openDatabase("ada");
  expect(await again.read("a")).toEqual(a);
  expect((await again.summaries()).map(({ title }) => title)).toEqual(["About relays", "About models"]);
  await again.delete(["a"]);
  expect(await again.read("a")).toBeNull();
  expect((await again.readAll()).map(({ id }) => id)).toEqual(["b"]);
  expect((await again.summaries()).map(({ id }) => id)).toEqual(["b"]);
});

test("users of one browser do not see each other's", async () => {
  await (await openDatabase("bob")).write([conversation("c", "Bob's", 1)]);
  expect(await (await openDatabase("eve")).summaries()).toEqual([]);
});

test("a browser that keeps nothing keeps them while the page lives", async () => {
  const open = vi.spyOn(indexedDB, "open").mockImplementation(() => {
    throw new DOMException("not here", "SecurityError");
  });
  const database = await openDatabase("ada");
  open.mockRestore();
  await database.write([conversation("x", "Here", 1)]);
  expect((await database.summaries()).length).toBe(1);
  await database.delete(["x"]);
  expect(await database.read("x")).toBeNull();
});

test("a search finds every word in title or text, titles first", () => {
  const all = [conversation("a", "Cooking\nwith a relay", 1), conversation("b", "The RELAY", 2), conversation("c", "Other", 3)].map(summaryOf);
  expect(searchSummaries(all, "relay").map(({ id }) => id)).toEqual(["b", "a"]);
  expect(searchSummaries(all, "cooking RELAY").map(({ id }) => id)).toEqual(["a"]);
  expect(searchSummaries(all, "  ").length).toBe(3);
  expect(summaryOf(conversation("d", "x".repeat(100_000), 1)).text.length).toBeLessThanOrEqual(40_001);
});

test("a draft is there again, each conversation's its own, and gone when it is sent", () => {
  const kept = new Map<string, string>();
  const keeper = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value), removeItem: (key: string) => void kept.delete(key) };
  keepDraft(null, "new one", keeper);
  keepDraft("a", "of a", keeper);
  expect([readDraft(null, keeper), readDraft("a", keeper), readDraft("b", keeper)]).toEqual(["new one", "of a", ""]);
  keepDraft("a", "", keeper);
  expect(readDraft("a", keeper)).toBe("");
  const full = { ...keeper, setItem: () => { throw new DOMException("full", "QuotaExceededError"); } };
  expect(() => keepDraft("a", "more", full)).not.toThrow();
});
