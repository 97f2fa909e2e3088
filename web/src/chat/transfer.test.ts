import { expect, test } from "vitest";
import { branch, newConversation, reduce, type Conversation } from "./conversation";
import { defaults } from "./settings";
import { exportFile, format, importFile, ImportError, limits } from "./transfer";

function sample(): Conversation {
  const choice = { device: "desk", model: "demo" };
  let conversation = newConversation("c1", 5, choice, { ...defaults, temperature: 0.5 });
  conversation = reduce(conversation, { type: "asked", id: "q", parent: null, content: "Hi", images: ["QUJD"], atMs: 6 });
  conversation = reduce(conversation, { type: "answering", id: "a", parent: "q", choice, atMs: 7 });
  conversation = reduce(conversation, { type: "came", id: "a", content: "Hello", thinking: "hm", toolCalls: [{ name: "f", arguments: { x: 1 } }], atMs: 8 });
  const counts = { promptTokens: 1, answerTokens: 2, answerMs: 3, loadMs: 4, totalMs: 5 };
  return reduce(conversation, { type: "finished", id: "a", counts, atMs: 9 });
}
const newId = (): string => "fresh";
/** An exported file with something else in it. */
function altered(change: (file: any) => void): string {
  const file = JSON.parse(exportFile([sample()], 0));
  change(file);
  return JSON.stringify(file);
}

test("what was exported comes back whole, under a new id", () => {
  expect(importFile(exportFile([sample()], 0), newId)).toEqual([{ ...sample(), id: "fresh" }]);
});

test("what is damaged, foreign or out of bounds is refused as a whole", () => {
  const bad: Record<string, string> = {
    "no JSON": "{",
    "an array": "[]",
    "another file": JSON.stringify({ chats: [] }),
    "a newer version": altered((file) => (file.version = 2)),
    "no conversations": altered((file) => (file.conversations = {})),
    "too many": altered((file) => (file.conversations = Array(limits.conversations + 1).fill(file.conversations[0]))),
    "a foreign role": altered((file) => (file.conversations[0].messages.q.role = "system")),
    "text that is none": altered((file) => (file.conversations[0].messages.q.content = { toString: 1 })),
    "too long a title": altered((file) => (file.conversations[0].title = "x".repeat(201))),
    "an image with a prefix": altered((file) => (file.conversations[0].messages.q.images = ["data:image/svg+xml,<svg onload=x>"])),
    "a missing parent": altered((file) => (file.conversations[0].messages.q.parent = "gone")),
    "a circle": altered((file) => (file.conversations[0].messages.q.parent = "a")),
    "a missing head": altered((file) => (file.conversations[0].head = "gone")),
    "two ids": altered((file) => (file.conversations[0].messages.q.id = "other")),
    "an id with a path": altered((file) => (file.conversations[0].messages.q.parent = "../x")),
    "a time that is none": altered((file) => (file.conversations[0].createdMs = 1e300)),
  };
  for (const [what, text] of Object.entries(bad)) expect(() => importFile(text, newId), what).toThrow(ImportError);
  expect(Object.keys(bad).length).toBe(16);
});

test("ids that objects know are no way around the checks", () => {
  for (const id of ["constructor", "toString"]) {
    const text = altered((file) => (file.conversations[0].messages.q.parent = id));
    expect(() => importFile(text, newId), id).toThrow(ImportError);
  }
});

test("settings out of bounds are left to the model, and what ran does not run", () => {
  const text = altered((file) => {
    file.conversations[0].settings = { system: 5, temperature: 99, keepAlive: "soon", think: "high" };
    file.conversations[0].messages.a.progress = { phase: "failed", fault: { kind: "internal", message: "<b>visit evil.example</b>" } };
  });
  const [conversation] = importFile(text, newId);
  expect(conversation!.settings).toEqual({ ...defaults, think: "high" });
  expect(branch(conversation!)[1]).toMatchObject({ progress: { phase: "failed", fault: { kind: "torn" } } });
  expect(format).toBe("c2l-conversations");
});
