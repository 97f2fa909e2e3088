// Conversations as a file, out and in. A file may come from anywhere: it is read value by value, bounded, and what is not understood
// refuses the whole file rather than to bring half of it in.
import { afterReload, type Answer, type Conversation, type Counts, type Message } from "./conversation";
import { readSettings } from "./settings";

export const format = "c2l-conversations";
export const limits = { file_bytes: 64 * 1024 * 1024, conversations: 2000, messages: 10_000, content_chars: 4_000_000, images: 16, image_chars: 16_000_000 };

export class ImportError extends Error {}

export function exportFile(conversations: Conversation[], atMs: number): string {
  return JSON.stringify({ format, version: 1, exported: new Date(atMs).toISOString(), conversations }, null, 1);
}

/** The conversations of an exported file, with ids by `newId`, so that nothing kept is overwritten. Throws `ImportError`. */
export function importFile(text: string, newId: () => string): Conversation[] {
  if (text.length > limits.file_bytes) throw new ImportError("The file is too large.");
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw new ImportError("The file is no JSON.");
  }
  const root = object(file, "the file");
  if (root["format"] !== format) throw new ImportError("The file was not exported from this page.");
  if (root["version"] !== 1) throw new ImportError("The file is of a newer version of this page.");
  return array(root["conversations"], limits.conversations, "conversations").map((each) => ({ ...readConversation(each), id: newId() }));
}

function readConversation(value: unknown): Conversation {
  const from = object(value, "a conversation");
  const messages: Record<string, Message> = Object.create(null) as Record<string, Message>;
  const entries = Object.entries(object(from["messages"], "messages"));
  if (entries.length > limits.messages) throw new ImportError("A conversation has too many messages.");
  for (const [id, each] of entries) {
    const message = readMessage(object(each, "a message"));
    if (message.id !== id) throw new ImportError("A message has two ids.");
    messages[id] = message;
  }
  checkTree(messages);
  const head = from["head"] === null ? null : string(from["head"], 64, "head");
  if (head !== null && !(head in messages)) throw new ImportError("A conversation shows a message that it does not have.");
  const choice = from["choice"] ? object(from["choice"], "choice") : null;
  return afterReload({
    id: "",
    title: string(from["title"], 200, "title"),
    isNamed: from["isNamed"] === true,
    createdMs: time(from["createdMs"]),
    updatedMs: time(from["updatedMs"]),
    messages: { ...messages },
    head,
    settings: readSettings(from["settings"]),
    choice: choice && { device: string(choice["device"], 300, "device"), model: string(choice["model"], 300, "model") },
  });
}

function readMessage(from: Record<string, unknown>): Message {
  const base = {
    id: identifier(from["id"]),
    parent: from["parent"] === null ? null : identifier(from["parent"]),
    createdMs: time(from["createdMs"]),
    content: string(from["content"], limits.content_chars, "content"),
  };
  if (from["role"] === "user") return { ...base, role: "user", images: array(from["images"], limits.images, "images").map(readImage) };
  if (from["role"] !== "assistant") throw new ImportError("A message is neither a question nor an answer.");
  return {
    ...base,
    role: "assistant",
    model: string(from["model"], 300, "model"),
    device: string(from["device"], 300, "device"),
    thinking: string(from["thinking"], limits.content_chars, "thinking"),
    toolCalls: array(from["toolCalls"], 64, "toolCalls").map((call) => {
      const { name, arguments: given } = object(call, "a tool call");
      return { name: string(name, 200, "name"), arguments: given ?? {} };
    }),
    progress: readProgress(from["progress"]),
    counts: from["counts"] ? readCounts(object(from["counts"], "counts")) : null,
    firstTokenMs: typeof from["firstTokenMs"] === "number" ? from["firstTokenMs"] : null,
  };
}

/** Where it stood; a failure is told in our own words, never in those of a file. */
function readProgress(value: unknown): Answer["progress"] {
  const phase = object(value, "progress")["phase"];
  return phase === "done" || phase === "stopped" ? { phase } : { phase: "streaming", sinceMs: 0 };
}

function readCounts(from: Record<string, unknown>): Counts {
  const number = (name: keyof Counts): number => (typeof from[name] === "number" && Number.isFinite(from[name]) ? from[name] : 0);
  return { promptTokens: number("promptTokens"), answerTokens: number("answerTokens"), answerMs: number("answerMs"), loadMs: number("loadMs"), totalMs: number("totalMs") };
}

function readImage(value: unknown): string {
  const image = string(value, limits.image_chars, "an image");
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(image)) throw new ImportError("An image is not base64.");
  return image;
}

/** Every parent is there, and no message is above itself. */
function checkTree(messages: Record<string, Message>): void {
  const good = new Set<string>();
  for (const start of Object.values(messages)) {
    const path = new Set<string>();
    for (let at: Message | undefined = start; at && !good.has(at.id); ) {
      if (path.has(at.id)) throw new ImportError("A conversation's messages form a circle.");
      path.add(at.id);
      if (at.parent !== null && !(at.parent in messages)) throw new ImportError("A message answers one that is missing.");
      at = at.parent === null ? undefined : messages[at.parent];
    }
    for (const id of path) good.add(id);
  }
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new ImportError(`The file is damaged: ${what}.`);
  return value as Record<string, unknown>;
}
function array(value: unknown, most: number, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > most) throw new ImportError(`The file is damaged: ${what}.`);
  return value;
}
function string(value: unknown, most: number, what: string): string {
  if (typeof value !== "string" || value.length > most) throw new ImportError(`The file is damaged: ${what}.`);
  return value;
}
function identifier(value: unknown): string {
  const id = string(value, 64, "an id");
  if (!/^[0-9a-zA-Z-]+$/.test(id)) throw new ImportError("The file is damaged: an id.");
  return id;
}
function time(value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value) || Math.abs(value) > 8.64e15) throw new ImportError("The file is damaged: a time.");
  return value;
}
