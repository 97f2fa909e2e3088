// Conversations to and from files, as the browser does it.
import { toast } from "../ui/toast";
import { addConversations, newId, readConversations } from "./library";
import { exportFile, importFile, ImportError, limits } from "./transfer";

/** Saves one conversation, or all of them. */
export async function saveAsFile(id?: string): Promise<void> {
  const conversations = await readConversations(id);
  const now = Date.now();
  const blob = new Blob([exportFile(conversations, now)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `c2l-conversations-${new Date(now).toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // by then the browser has read it
}

/** Brings the conversations of a file in, beside those that are here. Says how it went. */
export async function readFromFile(file: File): Promise<void> {
  try {
    if (file.size > limits.file_bytes) throw new ImportError("The file is too large.");
    const conversations = importFile(await file.text(), newId);
    await addConversations(conversations);
    toast(conversations.length === 1 ? "1 conversation is imported." : `${conversations.length} conversations are imported.`);
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error), "error");
  }
}
