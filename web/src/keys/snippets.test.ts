import { expect, test } from "vitest";
import { exampleModel, snippetsFor } from "./snippets";

const key = { key: `c2l_${"a".repeat(40)}`, models: [] };
const all = snippetsFor("https://relay.example", key);
const text = (id: string): string => all.find((each) => each.id === id)!.parts.map((part) => part.text).join("\n");

test("the lines are those of the README", () => {
  expect(text("shell")).toContain(`export OLLAMA_HOST=https://relay.example/k/${key.key}`);
  expect(text("shell")).toContain(`export OPENAI_BASE_URL=https://relay.example/v1 OPENAI_API_KEY=${key.key}`);
  expect(text("shell")).toContain(`export ANTHROPIC_BASE_URL=https://relay.example ANTHROPIC_AUTH_TOKEN=${key.key}`);
});

test("each way of running a program has lines of its own, with both kinds of address", () => {
  expect(all.map((each) => each.id)).toEqual(["shell", "docker", "compose", "kubernetes", "python", "javascript"]);
  for (const { id } of all) {
    expect(text(id)).toContain(`https://relay.example/k/${key.key}`);
    expect(text(id)).toContain("https://relay.example/v1");
  }
});

test("in a container the key is no argument, which anybody on the machine could read", () => {
  const run = all.find((each) => each.id === "docker")!.parts.find((part) => part.text.startsWith("docker run"))!;
  expect(run.text).not.toContain(key.key);
});

test("examples name a model that the key may use", () => {
  expect(exampleModel([])).toBe("llama3.2");
  expect(exampleModel(["qwen3:*", "phi4:14b"])).toBe("phi4:14b");
  expect(snippetsFor("https://relay.example", { ...key, models: ["phi4:14b"] })[0]!.parts.at(-1)!.text).toContain('"model":"phi4:14b"');
});

test("a model's name cannot leave the quotes of the shell", () => {
  const shell = snippetsFor("https://relay.example", { ...key, models: ["a';reboot;'"] })[0]!;
  expect(shell.parts.at(-1)!.text).toContain("a'\\'';reboot;'\\''");
});
