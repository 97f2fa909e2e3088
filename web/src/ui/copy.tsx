// Copying to the clipboard, with an answer that can be seen and heard.
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "./Button";
import { Icon } from "./Icon";
import { toast } from "./toast";

/** True when it worked; says so itself when not. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    toast("This browser does not allow copying here; select the text instead.", "error");
    return false;
  }
}

export function CopyButton({ text, label = "Copy", iconOnly }: { text: string | (() => string); label?: string; iconOnly?: boolean }) {
  const [isDone, setDone] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async (): Promise<void> => {
    if (!(await copyText(typeof text === "string" ? text : text()))) return;
    setDone(true);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setDone(false), 1500);
  };
  return (
    <Button kind="quiet" class={iconOnly ? "button-icon" : ""} aria-label={isDone ? "Copied" : label} title={label} onClick={() => void copy()}>
      <Icon name={isDone ? "check" : "copy"} />
      {!iconOnly && <span aria-live="polite">{isDone ? "Copied" : label}</span>}
    </Button>
  );
}
