// Conversations in this browser's IndexedDB: each whole, and a summary of it for the list and the search. Where a browser keeps
// nothing (a private window of some), they live as long as the page.
import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { Conversation } from "./conversation";

export interface Summary {
  id: string;
  title: string;
  updatedMs: number;
  /** What was said, in small letters and cut, for the search. */
  text: string;
}

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation };
  summaries: { key: string; value: Summary };
}

export interface Database {
  summaries(): Promise<Summary[]>;
  read(id: string): Promise<Conversation | null>;
  readAll(): Promise<Conversation[]>;
  /** Writes all of them, or none. */
  write(conversations: Conversation[]): Promise<void>;
  delete(ids: string[]): Promise<void>;
}

const longest_text_chars = 40_000;

export function summaryOf(conversation: Conversation): Summary {
  let text = "";
  for (const { content } of Object.values(conversation.messages)) {
    if (text.length >= longest_text_chars) break;
    text += `${content.slice(0, longest_text_chars - text.length)}\n`;
  }
  return { id: conversation.id, title: conversation.title, updatedMs: conversation.updatedMs, text: text.toLowerCase() };
}

export async function openDatabase(owner: string): Promise<Database> {
  try {
    const database = await openDB<Schema>(`c2l:${owner}`, 1, {
      upgrade(fresh) {
        fresh.createObjectStore("conversations", { keyPath: "id" });
        fresh.createObjectStore("summaries", { keyPath: "id" });
      },
    });
    return kept(database);
  } catch {
    return forgotten();
  }
}

function kept(database: IDBPDatabase<Schema>): Database {
  const both = () => database.transaction(["conversations", "summaries"], "readwrite");
  return {
    summaries: () => database.getAll("summaries"),
    read: async (id) => (await database.get("conversations", id)) ?? null,
    readAll: () => database.getAll("conversations"),
    async write(conversations) {
      const change = both();
      const writes = conversations.flatMap((each) => [
        change.objectStore("conversations").put(each),
        change.objectStore("summaries").put(summaryOf(each)),
      ]);
      await Promise.all([...writes, change.done]);
    },
    async delete(ids) {
      const change = both();
      const deletes = ids.flatMap((id) => [change.objectStore("conversations").delete(id), change.objectStore("summaries").delete(id)]);
      await Promise.all([...deletes, change.done]);
    },
  };
}

/** Stands in where the browser keeps nothing. */
function forgotten(): Database {
  const all = new Map<string, Conversation>();
  return {
    summaries: async () => [...all.values()].map(summaryOf),
    read: async (id) => all.get(id) ?? null,
    readAll: async () => [...all.values()],
    async write(conversations) {
      for (const each of conversations) all.set(each.id, each);
    },
    async delete(ids) {
      for (const id of ids) all.delete(id);
    },
  };
}
