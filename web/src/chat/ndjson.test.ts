import { expect, test } from "vitest";
import { LineError, LineParser } from "./ndjson";

const text = '{"a":"grün 🦙"}\n\n{"b":[1,2]}\r\n{"c":null}';
const bytes = new TextEncoder().encode(text);
const values = [{ a: "grün 🦙" }, { b: [1, 2] }, { c: null }];

test("lines are found wherever the bytes are split", () => {
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const parser = new LineParser();
      const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
      const found = pieces.flatMap((piece) => parser.push(piece));
      expect([...found, ...parser.end()]).toEqual(values);
    }
  }
});

test("a torn last line is an error and not a value", () => {
  const parser = new LineParser();
  expect(parser.push(new TextEncoder().encode('{"a":1}\n{"b"'))).toEqual([{ a: 1 }]);
  expect(() => parser.end()).toThrow(LineError);
});

test("what is no JSON is an error", () => {
  expect(() => new LineParser().push(new TextEncoder().encode("<html>\n"))).toThrow(LineError);
});

test("a line without an end has a bound", () => {
  const parser = new LineParser(10);
  expect(parser.push(new TextEncoder().encode("1234567890"))).toEqual([]);
  expect(() => parser.push(new TextEncoder().encode("1"))).toThrow("too long");
});
