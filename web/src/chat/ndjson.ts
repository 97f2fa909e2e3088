// JSON lines out of bytes that come split anywhere, in the middle of a character too.
//
// Invariant: what is held back is at most one line, and a line has a bound: an endless one is an error, not a full memory.

export class LineError extends Error {}

export class LineParser {
  private readonly decoder = new TextDecoder("utf-8");
  private rest = "";

  constructor(private readonly longest_chars = 8 * 1024 * 1024) {}

  /** The values of the lines that `bytes` complete. Throws `LineError` on what is no JSON, after which the parser is of no use. */
  push(bytes: Uint8Array): unknown[] {
    return this.take(this.decoder.decode(bytes, { stream: true }));
  }

  /** The value of a last line without an end, if it is whole. Throws `LineError` when it is torn. */
  end(): unknown[] {
    const values = this.take(`${this.decoder.decode()}\n`);
    return values;
  }

  private take(text: string): unknown[] {
    const values: unknown[] = [];
    let from = 0;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", from)) {
      const line = (this.rest + text.slice(from, at)).trim();
      this.rest = "";
      from = at + 1;
      if (line) values.push(parse(line));
    }
    this.rest += text.slice(from);
    if (this.rest.length > this.longest_chars) throw new LineError("a line of the answer is too long");
    return values;
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new LineError("a line of the answer is no JSON");
  }
}
