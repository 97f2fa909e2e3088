// The conversations of this page: those that are open, in memory; all of them, in the database. What happens to one is an event
// (`conversation.reduce`); it is written soon after, and at once when the page goes.
import { signal, type Signal } from "@preact/signals";
import { owner } from "../app/storage";
import { afterReload, isRunning, newConversation, reduce, type Conversation, type Event, type ModelChoice } from "./conversation";
import { openDatabase, summaryOf, type Database, type Summary } from "./database";
import type { Settings } from "./settings";

const save_after_ms = 800;

export const summaries = signal<Summary[]>([]);
/** Said when the browser refuses to keep what was written, as when its disk is full. */
export const saveProblem = signal<string | null>(null);

const open = new Map<string, Signal<Conversation>>();
const unsaved = new Set<string>();
const deleted = new Set<string>();
let timer: ReturnType<typeof setTimeout> | null = null;
let database: Promise<Database> | null = null;
/** Other tabs of this page: what one writes the others list. */
let tabs: BroadcastChannel | null = null;

function data(): Promise<Database> {
  return (database ??= openDatabase(owner()));
}

export async function startLibrary(): Promise<void> {
  if (tabs) return list();
  addEventListener("pagehide", () => void save());
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && void save());
  tabs = new BroadcastChannel(`c2l:${owner()}`);
  tabs.onmessage = () => void list();
  await list();
}

async function list(): Promise<void> {
  const all = await (await data()).summaries();
  summaries.value = byTime(all.filter(({ id }) => !deleted.has(id)));
}

/** The conversation of this id; null when there is none. The same signal each time, while the page lives. */
export async function openConversation(id: string): Promise<Signal<Conversation> | null> {
  const known = open.get(id);
  if (known) return known;
  const read = deleted.has(id) ? null : await (await data()).read(id);
  if (!read) return null;
  return open.get(id) ?? keep(afterReload(read));
}

/** An open conversation as it is now. */
export function currentConversation(id: string): Conversation | null {
  return open.get(id)?.value ?? null;
}

export function createConversation(choice: ModelChoice | null, settings: Settings): Signal<Conversation> {
  return keep(newConversation(newId(), Date.now(), choice, settings));
}

/** Lets `event` happen to a conversation, and sees to it that it is kept. */
export function happen(id: string, event: Event): void {
  const conversation = open.get(id);
  if (!conversation || deleted.has(id)) return;
  const before = conversation.value;
  conversation.value = reduce(before, event);
  if (conversation.value === before) return;
  unsaved.add(id);
  if (conversation.value.title !== before.title || event.type === "asked") show(conversation.value);
  // Words are gathered; what somebody did, and how it ended, is written at once: a page that goes may not be given the time.
  if (event.type === "came") timer ??= setTimeout(() => void save(), save_after_ms);
  else void save();
}

/** Renames one that need not be open. */
export async function renameConversation(id: string, title: string): Promise<void> {
  if (await openConversation(id)) happen(id, { type: "renamed", title });
}

export async function deleteConversations(ids: string[]): Promise<void> {
  for (const id of ids) {
    deleted.add(id);
    unsaved.delete(id);
    open.delete(id);
  }
  summaries.value = summaries.value.filter(({ id }) => !deleted.has(id));
  await (await data()).delete(ids);
  tabs?.postMessage("changed");
}

export async function addConversations(conversations: Conversation[]): Promise<void> {
  await (await data()).write(conversations);
  await list();
  tabs?.postMessage("changed");
}

/** All of them, or the one that is named, as they are now. */
export async function readConversations(id?: string): Promise<Conversation[]> {
  await save();
  const database = await data();
  const found = id === undefined ? await database.readAll() : [await database.read(id)];
  return found.filter((each) => each !== null);
}

/** The ones whose title or text has every word of `query`; those with all in the title first. */
export function searchSummaries(all: Summary[], query: string): Summary[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return all;
  const inTitle = ({ title }: Summary): boolean => words.every((word) => title.toLowerCase().includes(word));
  const found = all.filter((each) => words.every((word) => each.text.includes(word) || each.title.toLowerCase().includes(word)));
  return [...found.filter(inTitle), ...found.filter((each) => !inTitle(each))];
}

export function newId(): string {
  return crypto.randomUUID();
}

/** Writes what is not written yet. What runs is written too: whatever came before a crash is there after it. */
async function save(): Promise<void> {
  if (timer !== null) clearTimeout(timer);
  timer = null;
  const ids = [...unsaved];
  unsaved.clear();
  const conversations = ids.flatMap((id) => open.get(id)?.value ?? []);
  if (conversations.length === 0) return;
  try {
    await (await data()).write(conversations);
    saveProblem.value = null;
    tabs?.postMessage("changed");
  } catch (error) {
    for (const id of ids) unsaved.add(id);
    saveProblem.value = error instanceof Error ? error.message : String(error);
  }
  for (const conversation of conversations) if (!hasRunning(conversation)) show(conversation);
}

function hasRunning(conversation: Conversation): boolean {
  return Object.values(conversation.messages).some((message) => message.role === "assistant" && isRunning(message));
}

function keep(conversation: Conversation): Signal<Conversation> {
  const kept = signal(conversation);
  open.set(conversation.id, kept);
  return kept;
}

/** Brings the list up to date with one conversation. */
function show(conversation: Conversation): void {
  if (deleted.has(conversation.id)) return;
  const others = summaries.value.filter(({ id }) => id !== conversation.id);
  summaries.value = byTime([summaryOf(conversation), ...others]);
}

function byTime(all: Summary[]): Summary[] {
  return [...all].sort((a, b) => b.updatedMs - a.updatedMs);
}
