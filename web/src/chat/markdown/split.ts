// A text that grows, cut into blocks that no longer change and one that may: so that a long answer costs, each time something comes,
// the parsing of its last block and not of all of it.
//
// A block ends at an empty line outside of fences, formulas and lists that go on. Invariant: the blocks' sources, one after the
// other, are the text, whatever the pieces in which it came.

export interface Block {
  kind: "markdown" | "code";
  /** Its part of the text, fences included. */
  source: string;
  /** Of a block of code. */
  language: string;
  code: string;
  /** Of a block of code: whether its closing fence has come. */
  isClosed: boolean;
}

const fence = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const compared_chars = 256;
const listItem = /^ {0,3}([-*+]|\d{1,9}[.)])(\s|$)/;

export class Splitter {
  /** Blocks that will not change again. */
  readonly finished: Block[] = [];
  private text = "";
  private from = 0;

  /** Takes the whole text so far. One that does not go on from the one before is split anew. */
  update(text: string): void {
    // Only its end is compared: an answer grows or begins again, and comparing all of it each time would cost what this saves.
    const seen = this.text.length;
    if (text.length < seen || text.slice(Math.max(0, seen - compared_chars), seen) !== this.text.slice(-compared_chars)) {
      this.finished.length = 0;
      this.from = 0;
    }
    this.text = text;
    for (let end = this.blockEnd(); end !== null; end = this.blockEnd()) {
      this.finished.push(blockOf(this.text.slice(this.from, end)));
      this.from = end;
    }
  }

  /** The block that may still change; null when there is none. */
  get last(): Block | null {
    const source = this.text.slice(this.from);
    return source.trim() ? blockOf(source) : null;
  }

  /** Where the block ends that begins at `from`, once that is certain: with the line after it in sight. */
  private blockEnd(): number | null {
    let open: { closes: (line: string) => boolean } | null = null;
    let isList = false;
    let isBlank = true; // whether only empty lines have been seen
    for (let at = this.from; at < this.text.length; ) {
      const newline = this.text.indexOf("\n", at);
      if (newline < 0) return null; // a line that is not whole says nothing yet
      const line = this.text.slice(at, newline);
      const next = newline + 1;
      if (open) {
        if (open.closes(line)) {
          open = null;
          if (!isList) return next;
        }
      } else if (line.trim() === "") {
        if (!isBlank && !(isList && this.goesOn(next))) return next;
      } else {
        const opened = opens(line);
        // Code is a block of its own, also right below a paragraph.
        if (opened === "fence" && !isBlank && !isList) return at;
        if (isBlank) isList = listItem.test(line);
        if (opened) open = opened === "fence" ? fenceCloser(line) : { closes: (each) => each.trimEnd().endsWith(opened) };
        isBlank = false;
      }
      at = next;
    }
    return null;
  }

  /** Whether what follows an empty line at `at` may belong to the list before it; nobody knows until it has come. */
  private goesOn(at: number): boolean {
    const line = this.firstLine(at);
    return line === null || /^\s/.test(line) || listItem.test(line);
  }

  /** The first line from `at` with something in it, as far as it can be judged. */
  private firstLine(at: number): string | null {
    const found = /^(?:[ \t]*\n)*([^\n]+)(\n)?/.exec(this.text.slice(at, at + 4096));
    if (!found?.[1]?.trim()) return null;
    return found[2] || found[1].length > 12 ? found[1] : null;
  }
}

function opens(line: string): "fence" | "$$" | "\\]" | null {
  if (fence.test(line)) return "fence";
  const text = line.trim();
  if (text.startsWith("$$") && !text.slice(2).includes("$$")) return "$$";
  return text.startsWith("\\[") && !text.includes("\\]") ? "\\]" : null;
}

function fenceCloser(line: string): { closes: (line: string) => boolean } {
  const mark = fence.exec(line)![1]!;
  const closing = new RegExp(`^ {0,3}${mark[0] === "~" ? "~" : "`"}{${mark.length},}\\s*$`);
  return { closes: (each) => closing.test(each) };
}

function blockOf(source: string): Block {
  const begun = /^(?:[ \t]*\n)*/.exec(source)![0].length;
  const lines = source.slice(begun).replace(/\n$/, "").split("\n");
  const opening = fence.exec(lines[0]!);
  if (!opening) return { kind: "markdown", source, language: "", code: "", isClosed: true };
  const closer = fenceCloser(lines[0]!);
  const isClosed = lines.length > 1 && closer.closes(lines.at(-1)!);
  const code = lines.slice(1, isClosed ? -1 : undefined).join("\n");
  return { kind: "code", source, language: opening[2]!.trim().split(/[\s,{]/, 1)[0]!.toLowerCase(), code, isClosed };
}
