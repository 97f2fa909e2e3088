// A conversation and all that can happen to it, as a pure function of the one before. No message is ever thrown away by an edit or a
// second answer: messages form a tree, and `head` says which branch is shown.
//
//   (root) ── question ─┬─ answer ── question …          an edit makes a sibling of a question,
//                       └─ another answer                another try makes a sibling of an answer
import { localFault, type Fault } from "../api/errors";
import { defaults, type Settings } from "./settings";

export interface ToolCall {
  name: string;
  /** As the model wrote them. */
  arguments: unknown;
}

/** What a finished answer cost, as Ollama counted. Times are in milliseconds. */
export interface Counts {
  promptTokens: number;
  answerTokens: number;
  answerMs: number;
  loadMs: number;
  totalMs: number;
}

/** Where an answer stands. In each phase what has come stays. */
export type Progress =
  | { phase: "waiting"; sinceMs: number }
  | { phase: "streaming"; sinceMs: number }
  | { phase: "done" }
  | { phase: "stopped" }
  | { phase: "failed"; fault: Fault };

interface Base {
  id: string;
  parent: string | null;
  createdMs: number;
  content: string;
}
export interface Question extends Base {
  role: "user";
  /** Base64 without a prefix, as Ollama takes them. */
  images: string[];
}
export interface Answer extends Base {
  role: "assistant";
  model: string;
  device: string;
  thinking: string;
  toolCalls: ToolCall[];
  progress: Progress;
  counts: Counts | null;
  /** From the request to the first sign of the answer. */
  firstTokenMs: number | null;
}
export type Message = Question | Answer;

export interface ModelChoice {
  device: string;
  model: string;
}

export interface Conversation {
  id: string;
  title: string;
  /** Whether somebody named it; else the first question does. */
  isNamed: boolean;
  createdMs: number;
  updatedMs: number;
  messages: Record<string, Message>;
  /** The last message of the branch that is shown; null when there is none. */
  head: string | null;
  settings: Settings;
  choice: ModelChoice | null;
}

export type Event =
  | { type: "asked"; id: string; parent: string | null; content: string; images: string[]; atMs: number }
  | { type: "answering"; id: string; parent: string; choice: ModelChoice; atMs: number }
  | { type: "resumed"; id: string; atMs: number; keep: boolean }
  | { type: "came"; id: string; content: string; thinking: string; toolCalls: ToolCall[]; atMs: number }
  | { type: "finished"; id: string; counts: Counts | null; atMs: number }
  | { type: "stopped"; id: string; atMs: number }
  | { type: "failed"; id: string; fault: Fault; atMs: number }
  | { type: "shown"; head: string }
  | { type: "renamed"; title: string }
  | { type: "chosen"; choice: ModelChoice }
  | { type: "set"; settings: Settings };

export function newConversation(id: string, atMs: number, choice: ModelChoice | null, settings: Settings = defaults): Conversation {
  return { id, title: "New conversation", isNamed: false, createdMs: atMs, updatedMs: atMs, messages: {}, head: null, settings, choice };
}

export function reduce(conversation: Conversation, event: Event): Conversation {
  switch (event.type) {
    case "asked": {
      const { id, parent, content, images, atMs } = event;
      const isFirst = Object.keys(conversation.messages).length === 0;
      const title = isFirst && !conversation.isNamed ? titleOf(content) : conversation.title;
      return withMessage({ ...conversation, title, head: id, updatedMs: atMs }, { role: "user", id, parent, createdMs: atMs, content, images });
    }
    case "answering": {
      const { id, parent, choice, atMs } = event;
      const answer: Answer = {
        role: "assistant", id, parent, createdMs: atMs, content: "", thinking: "", toolCalls: [], counts: null, firstTokenMs: null,
        model: choice.model, device: choice.device, progress: { phase: "waiting", sinceMs: atMs },
      };
      return withMessage({ ...conversation, head: id, choice, updatedMs: atMs }, answer);
    }
    case "resumed": // `keep`: what has come stays, and the rest is put after it
      return changeAnswer(conversation, event.id, event.atMs, (answer) => ({
        ...answer,
        ...(event.keep ? {} : { content: "", thinking: "", toolCalls: [] }),
        counts: null,
        firstTokenMs: null,
        progress: { phase: "waiting", sinceMs: event.atMs },
      }));
    case "came":
      return changeAnswer(conversation, event.id, event.atMs, (answer) => {
        if (!isRunning(answer)) return answer; // what was under way when it was stopped
        const sinceMs = "sinceMs" in answer.progress ? answer.progress.sinceMs : event.atMs;
        return {
          ...answer,
          content: answer.content + event.content,
          thinking: answer.thinking + event.thinking,
          toolCalls: event.toolCalls.length ? [...answer.toolCalls, ...event.toolCalls] : answer.toolCalls,
          firstTokenMs: answer.firstTokenMs ?? event.atMs - sinceMs,
          progress: { phase: "streaming", sinceMs },
        };
      });
    case "finished":
      return changeRunning(conversation, event, (answer) => ({ ...answer, counts: event.counts, progress: { phase: "done" } }));
    case "stopped":
      return changeRunning(conversation, event, (answer) => ({ ...answer, progress: { phase: "stopped" } }));
    case "failed":
      return changeRunning(conversation, event, (answer) => ({ ...answer, progress: { phase: "failed", fault: event.fault } }));
    case "shown":
      return event.head in conversation.messages ? { ...conversation, head: leafBelow(conversation, event.head) } : conversation;
    case "renamed": {
      const title = event.title.trim().slice(0, 200);
      return title ? { ...conversation, title, isNamed: true } : conversation;
    }
    case "chosen":
      return { ...conversation, choice: event.choice };
    case "set":
      return { ...conversation, settings: event.settings };
  }
}

/** The messages of the branch that is shown, first one first. */
export function branch(conversation: Conversation, head: string | null = conversation.head): Message[] {
  const path: Message[] = [];
  for (let id = head; id !== null; ) {
    const message: Message | undefined = conversation.messages[id];
    if (!message || path.length > Object.keys(conversation.messages).length) break; // a damaged tree ends, and does not hang
    path.push(message);
    id = message.parent;
  }
  return path.reverse();
}

/** All messages that stand at the place of this one, oldest first. */
export function siblings(conversation: Conversation, message: Message): Message[] {
  return childrenOf(conversation, message.parent);
}

export function isRunning(answer: Answer): boolean {
  return answer.progress.phase === "waiting" || answer.progress.phase === "streaming";
}

/** As it is after a reload: nothing runs any more, and what came stays. */
export function afterReload(conversation: Conversation): Conversation {
  const running = Object.values(conversation.messages).filter((message) => message.role === "assistant" && isRunning(message));
  const fault = localFault("torn", "the page was closed or reloaded");
  return running.reduce((before, { id }) => reduce(before, { type: "failed", id, fault, atMs: before.updatedMs }), conversation);
}

/** What a conversation is called until somebody names it. */
export function titleOf(content: string): string {
  const line = content.trim().split("\n", 1)[0]!.replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line || "Images";
}

function childrenOf(conversation: Conversation, parent: string | null): Message[] {
  const all = Object.values(conversation.messages).filter((message) => message.parent === parent);
  return all.sort((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1));
}

/** The end of the newest branch through this message. */
function leafBelow(conversation: Conversation, id: string): string {
  for (let depth = Object.keys(conversation.messages).length; depth > 0; depth--) {
    const newest = childrenOf(conversation, id).at(-1);
    if (!newest) break;
    id = newest.id;
  }
  return id;
}

function withMessage(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, messages: { ...conversation.messages, [message.id]: message } };
}

function changeAnswer(conversation: Conversation, id: string, atMs: number, change: (answer: Answer) => Answer): Conversation {
  const answer = conversation.messages[id];
  if (answer?.role !== "assistant") return conversation;
  const changed = change(answer);
  return changed === answer ? conversation : withMessage({ ...conversation, updatedMs: atMs }, changed);
}

/** Whatever ends an answer ends it once. */
function changeRunning(conversation: Conversation, event: { id: string; atMs: number }, change: (answer: Answer) => Answer): Conversation {
  return changeAnswer(conversation, event.id, event.atMs, (answer) => (isRunning(answer) ? change(answer) : answer));
}
