import { expect, test } from "vitest";
import { Splitter } from "./split";

const text = `# Title
A paragraph
of two lines.

- one

  more of one
- two

1) other

After the list.
\`\`\`js
const a = 1;

// not a block's end
\`\`\`
Right after.

$$
a

b
$$

~~~~
\`\`\`
~~~~

| a | b |
|---|---|
| 1 | 2 |

Last`;

const blocks = [
  "# Title\nA paragraph\nof two lines.\n\n",
  "- one\n\n  more of one\n- two\n\n1) other\n\n",
  "After the list.\n",
  "```js\nconst a = 1;\n\n// not a block's end\n```\n",
  "Right after.\n\n",
  "$$\na\n\nb\n$$\n",
  "\n~~~~\n```\n~~~~\n",
  "\n| a | b |\n|---|---|\n| 1 | 2 |\n\n",
];

test("blocks are the same in whatever pieces the text comes", () => {
  for (const size of [1, 2, 3, 7, 50, text.length]) {
    const splitter = new Splitter();
    for (let end = size; end < text.length + size; end += size) splitter.update(text.slice(0, end));
    expect(splitter.finished.map(({ source }) => source)).toEqual(blocks);
    expect(splitter.last?.source).toBe("Last");
  }
});

test("what is finished stays the very same object while the text grows", () => {
  const splitter = new Splitter();
  splitter.update(text.slice(0, 200));
  const before = [...splitter.finished];
  splitter.update(text);
  expect(before.length).toBeGreaterThan(2);
  before.forEach((block, index) => expect(splitter.finished[index]).toBe(block));
});

test("a block of code knows its language, its code and whether it is closed", () => {
  const splitter = new Splitter();
  splitter.update("```Python title=x\nprint(1)\n");
  expect(splitter.last).toMatchObject({ kind: "code", language: "python", code: "print(1)", isClosed: false });
  splitter.update("```Python title=x\nprint(1)\n```\n");
  expect(splitter.finished[0]).toMatchObject({ kind: "code", code: "print(1)", isClosed: true });
});

test("a text that does not go on from the one before is split anew", () => {
  const splitter = new Splitter();
  splitter.update("one\n\ntwo\n\nthree");
  splitter.update("four\n\nfive");
  expect(splitter.finished.map(({ source }) => source)).toEqual(["four\n\n"]);
});

test("a long answer is not parsed from its start each time", () => {
  const splitter = new Splitter();
  let all = "";
  let looked = 0;
  for (let at = 0; at < 400; at++) {
    all += `Paragraph ${at} ${"x".repeat(500)}\n\n`;
    splitter.update(all);
    looked += splitter.last?.source.length ?? 0;
  }
  expect(splitter.finished.length).toBe(400);
  expect(looked).toBe(0);
});
