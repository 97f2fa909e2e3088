import { expect, test } from "vitest";
import { localFault } from "../api/errors";
import { afterReload, branch, newConversation, reduce, siblings, titleOf, type Answer, type Conversation, type Event } from "./conversation";

const choice = { device: "desk", model: "demo" };
function after(...events: Event[]): Conversation {
  return events.reduce(reduce, newConversation("c", 0, choice));
}
const asked = (id: string, parent: string | null, content = id, atMs = 0): Event => ({ type: "asked", id, parent, content, images: [], atMs });
const answering = (id: string, parent: string, atMs = 0): Event => ({ type: "answering", id, parent, choice, atMs });
const came = (id: string, content: string, atMs = 0): Event => ({ type: "came", id, content, thinking: "", toolCalls: [], atMs });
const finished = (id: string): Event => ({ type: "finished", id, counts: null, atMs: 0 });
const shown = (conversation: Conversation): string[] => branch(conversation).map(({ id }) => id);
const answer = (conversation: Conversation, id: string): Answer => conversation.messages[id] as Answer;

const first = [asked("q1", null), answering("a1", "q1", 100), came("a1", "Hel", 350), came("a1", "lo", 400), finished("a1")];

test("an answer grows with what comes, and ends once", () => {
  const done = after(...first, came("a1", "too late"), { type: "stopped", id: "a1", atMs: 0 });
  expect(answer(done, "a1")).toMatchObject({ content: "Hello", progress: { phase: "done" }, firstTokenMs: 250 });
  expect(shown(done)).toEqual(["q1", "a1"]);
});

test("an edit keeps what was there as a branch, and each branch is found again", () => {
  const edited = after(...first, asked("q2", "a1"), answering("a2", "q2"), finished("a2"), asked("q1b", null, "edited", 9), answering("a1b", "q1b"));
  expect(shown(edited)).toEqual(["q1b", "a1b"]);
  expect(siblings(edited, edited.messages["q1b"]!).map(({ id }) => id)).toEqual(["q1", "q1b"]);
  expect(shown(reduce(edited, { type: "shown", head: "q1" }))).toEqual(["q1", "a1", "q2", "a2"]);
});

test("another answer stands beside the first one", () => {
  const again = after(...first, answering("a1b", "q1", 900), came("a1b", "Hi"));
  expect(shown(again)).toEqual(["q1", "a1b"]);
  expect(siblings(again, again.messages["a1"]!).length).toBe(2);
  expect(answer(again, "a1").content).toBe("Hello");
});

test("a broken answer is continued after what came, or begun again", () => {
  const fault = localFault("torn", "");
  const broken = after(asked("q1", null), answering("a1", "q1"), came("a1", "Hel"), { type: "failed", id: "a1", fault, atMs: 0 });
  expect(answer(broken, "a1")).toMatchObject({ content: "Hel", progress: { phase: "failed", fault } });
  const resumed = reduce(broken, { type: "resumed", id: "a1", keep: true, atMs: 5 });
  expect(answer(reduce(resumed, came("a1", "lo")), "a1").content).toBe("Hello");
  expect(answer(reduce(broken, { type: "resumed", id: "a1", keep: false, atMs: 5 }), "a1")).toMatchObject({ content: "", progress: { phase: "waiting", sinceMs: 5 } });
});

test("after a reload nothing runs, and what came is there", () => {
  const reloaded = afterReload(after(asked("q1", null), answering("a1", "q1"), came("a1", "Hel")));
  expect(answer(reloaded, "a1")).toMatchObject({ content: "Hel", progress: { phase: "failed", fault: { kind: "torn" } } });
  const done = after(...first);
  expect(afterReload(done)).toBe(done);
});

test("the first question names it, until somebody does", () => {
  expect(after(asked("q1", null, "What is\na relay?"), asked("q2", "q1", "other")).title).toBe("What is");
  const named = after({ type: "renamed", title: "  Mine " }, asked("q1", null, "What?"));
  expect(named.title).toBe("Mine");
  expect(reduce(named, { type: "renamed", title: "  " })).toBe(named);
  expect(titleOf("a".repeat(80))).toHaveLength(60);
  expect(titleOf("  ")).toBe("Images");
});

test("a damaged tree ends and does not hang", () => {
  const circle = after(asked("a", "b"), asked("b", "a"));
  expect(branch(circle).length).toBeLessThanOrEqual(3);
  expect(reduce(circle, { type: "shown", head: "a" }).head).toMatch(/a|b/);
  expect(shown(after(asked("a", "missing")))).toEqual(["a"]);
});
