// The chat: a conversation, what it is asked with, and the keys that work anywhere in it.
import type { Signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { isHelpOpen } from "../app/Help";
import { go } from "../app/navigation";
import { DrawerButton, isDrawerOpen } from "../app/Shell";
import { copyText } from "../ui/copy";
import { IconButton } from "../ui/Button";
import { Icon } from "../ui/Icon";
import { toast } from "../ui/toast";
import { ask, choiceOf, choose, stopShown } from "./actions";
import { Composer } from "./Composer";
import { branch, type Conversation } from "./conversation";
import { ConversationMenu } from "./ConversationMenu";
import { openConversation, saveProblem } from "./library";
import { ModelPicker } from "./ModelPicker";
import { listState, watchModels } from "./modelList";
import { SettingsDialog } from "./SettingsDialog";
import { commandOf, type Command } from "./shortcuts";
import { Thread } from "./Thread";
import { Welcome } from "./Welcome";

export function ChatView({ conversation: id }: { conversation: string | null }) {
  const kept = useConversation(id);
  const conversation = kept?.value ?? null;
  const [isSetting, setSetting] = useState(false);
  useEffect(watchModels, []);
  useEffect(() => {
    document.title = conversation ? `${conversation.title} · c2l` : "c2l";
  }, [conversation?.title]);
  useCommands((command) => obey(command, conversation, () => setSetting(true)));

  const send = (text: string, images: string[]): boolean => {
    const asked = ask(conversation, text, images);
    if (!asked) toast(listState.value.phase === "asking" ? "Your devices are still being asked for their models." : "Choose a model first.", "error");
    else if (!conversation) go({ view: "chat", conversation: asked.id });
    return asked !== null;
  };
  const hasBegun = conversation !== null && conversation.head !== null;
  return (
    <div class="chat">
      <header class="chat-head">
        <DrawerButton />
        <h1 class="visually-hidden">{conversation?.title ?? "New conversation"}</h1>
        <ModelPicker choice={choiceOf(conversation)} onChoose={(choice) => choose(conversation, choice)} />
        <div class="chat-tools">
          <IconButton label="Settings of the conversation" onClick={() => setSetting(true)}>
            <Icon name="settings" />
          </IconButton>
          {conversation && <ConversationMenu id={conversation.id} title={conversation.title} isCurrent alignEnd />}
          <IconButton label="New conversation" onClick={() => go({ view: "chat", conversation: null })}>
            <Icon name="add" />
          </IconButton>
        </div>
      </header>
      {saveProblem.value && <p class="banner" role="alert">This browser does not keep your conversations ({saveProblem.value}); export what you need.</p>}
      {hasBegun ? <Thread key={conversation.id} conversation={conversation} /> : id === null || kept !== undefined ? <Welcome isUnknown={id !== null && !conversation} /> : <div class="thread" />}
      <Composer key={id ?? "new"} id={id} conversation={conversation} onSend={send} />
      {isSetting && <SettingsDialog conversation={conversation} onClose={() => setSetting(false)} />}
    </div>
  );
}

/** The conversation of this id: undefined while it is read, null when there is none. */
function useConversation(id: string | null): Signal<Conversation> | null | undefined {
  const [found, setFound] = useState<{ id: string; signal: Signal<Conversation> | null } | null>(null);
  useEffect(() => {
    if (id === null) return;
    let isOff = false;
    void openConversation(id).then((signal) => !isOff && setFound({ id, signal }));
    return () => {
      isOff = true;
    };
  }, [id]);
  if (id === null) return null;
  return found?.id === id ? found.signal : undefined;
}

function useCommands(run: (command: Command) => boolean): void {
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
      const target = event.target as HTMLElement;
      const isTyping = target.matches("input, textarea, select, [contenteditable]");
      const command = commandOf({ key: event.key, ctrl: event.ctrlKey || event.metaKey, shift: event.shiftKey, alt: event.altKey, isTyping });
      if (command && latest.current(command)) event.preventDefault();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

/** At once, since what is typed next is meant for it; on a narrow screen when its drawer has come. */
function focusSearch(): void {
  const search = document.getElementById("search");
  search?.focus();
  if (document.activeElement !== search) requestAnimationFrame(() => search?.focus());
}

/** Does what a key asks for; false when there is nothing to do, and the key is the browser's. */
function obey(command: Command, conversation: Conversation | null, openSettings: () => void): boolean {
  switch (command) {
    case "stop":
      return conversation !== null && stopShown(conversation);
    case "new":
      go({ view: "chat", conversation: null });
      return true;
    case "search":
      isDrawerOpen.value = true; // there is a drawer on narrow screens alone
      focusSearch();
      return true;
    case "focus":
      document.getElementById("message")?.focus();
      return true;
    case "settings":
      openSettings();
      return true;
    case "help":
      isHelpOpen.value = true;
      return true;
    case "copy": {
      const last = conversation && branch(conversation).findLast((message) => message.role === "assistant");
      if (last) void copyText(last.content).then((isDone) => isDone && toast("The last answer is copied."));
      return Boolean(last);
    }
  }
}
