// What somebody does in a conversation: each is a few events, and mostly an answer that is begun.
import { signal } from "@preact/signals";
import { readOwn, writeOwn } from "../app/storage";
import { branch, isRunning, type Answer, type Conversation, type ModelChoice, type Question } from "./conversation";
import { createConversation, currentConversation, happen, newId } from "./library";
import { pickModel } from "./models";
import { models, refreshModels } from "./modelList";
import { run, stop } from "./run";
import { defaults, readSettings, type Settings } from "./settings";

const memory = "last-model";

/** What the next new conversation begins with. */
export const nextSettings = signal<Settings>(defaults);
const lastChoice = signal<ModelChoice | null>(null);

/** The model that a conversation uses, or would. */
export function choiceOf(conversation: Conversation | null): ModelChoice | null {
  const last = lastChoice.value ?? recall();
  return conversation?.choice ?? pickModel(models.value, last) ?? last;
}

export function choose(conversation: Conversation | null, choice: ModelChoice): void {
  lastChoice.value = choice;
  if (conversation) happen(conversation.id, { type: "chosen", choice });
  writeOwn(memory, JSON.stringify(choice));
}

/** Asks; begins a conversation where there is none. Null when there is no model to ask. */
export function ask(conversation: Conversation | null, content: string, images: string[]): Conversation | null {
  const choice = choiceOf(conversation);
  if (!choice) return null;
  const target = conversation ?? createConversation(choice, nextSettings.value).value;
  const id = newId();
  happen(target.id, { type: "asked", id, parent: target.head, content, images, atMs: Date.now() });
  answer(target.id, id, choice);
  return target;
}

/** Asks something else in the place of a question; the first one stays, as a branch. */
export function askAgain(conversation: Conversation, question: Question, content: string): void {
  const choice = choiceOf(conversation);
  if (!choice) return;
  stopShown(conversation);
  const id = newId();
  happen(conversation.id, { type: "asked", id, parent: question.parent, content, images: question.images, atMs: Date.now() });
  answer(conversation.id, id, choice);
}

/** Another answer to the same question, by the model that is chosen now; this one stays, as a branch. */
export function regenerate(conversation: Conversation, former: Answer): void {
  const choice = choiceOf(conversation);
  if (!choice || former.parent === null) return;
  stopShown(conversation);
  answer(conversation.id, former.parent, choice);
}

/** Has the model go on where an answer broke off (`keep`), or begin it again in its place. */
export function resume(conversation: Conversation, former: Answer, keep: boolean): void {
  const choice = choiceOf(conversation) ?? { device: former.device, model: former.model };
  const messages = branch(conversation, keep ? former.id : former.parent);
  happen(conversation.id, { type: "resumed", id: former.id, atMs: Date.now(), keep });
  begin(conversation.id, { answer: former.id, choice: keep ? { device: former.device, model: former.model } : choice, messages, settings: conversation.settings });
}

/** Stops what is under way in the branch that is shown. True when there was something. */
export function stopShown(conversation: Conversation): boolean {
  const last = branch(conversation).at(-1);
  if (last?.role !== "assistant" || !isRunning(last)) return false;
  stop(last.id);
  return true;
}

export function setSettings(conversation: Conversation | null, settings: Settings): void {
  const good = readSettings(settings);
  if (conversation) happen(conversation.id, { type: "set", settings: good });
  else nextSettings.value = good;
}

function answer(conversation: string, question: string, choice: ModelChoice): void {
  const id = newId();
  happen(conversation, { type: "answering", id, parent: question, choice, atMs: Date.now() });
  const now = currentConversation(conversation);
  if (now) begin(conversation, { answer: id, choice, messages: branch(now, question), settings: now.settings });
}

function begin(conversation: string, job: Parameters<typeof run>[0]): void {
  // What is loaded changes with each answer, and when one fails.
  void run(job, (event) => happen(conversation, event)).then(refreshModels);
}

function recall(): ModelChoice | null {
  try {
    const kept = JSON.parse(readOwn(memory) ?? "null") as Partial<ModelChoice> | null;
    return typeof kept?.device === "string" && typeof kept.model === "string" ? { device: kept.device, model: kept.model } : null;
  } catch {
    return null;
  }
}
