// An answer: what the model thought, what it wants called, what it says, how it went, and what can be done next.
import { useEffect, useState } from "preact/hooks";
import { CopyButton } from "../ui/copy";
import { IconButton } from "../ui/Button";
import { Icon } from "../ui/Icon";
import { regenerate } from "./actions";
import { Branches } from "./Branches";
import { isRunning, type Answer, type Conversation, type Counts, type Message, type ToolCall } from "./conversation";
import { Failure } from "./Failure";
import { Markdown } from "./markdown/Markdown";
import { stateOf } from "./modelList";
import { tokensPerSecond } from "./ollama";

interface Props {
  conversation: Conversation;
  answer: Answer;
  siblings: Message[];
  isLast: boolean;
}

export function AnswerView({ conversation, answer, siblings, isLast }: Props) {
  const { phase } = answer.progress;
  const running = isRunning(answer);
  const isOffered = isLast && (phase === "failed" || phase === "stopped");
  return (
    <article class="answer" aria-label={`Answer of ${answer.model}`} aria-busy={running}>
      <p class="answer-name">
        {answer.model} <span>on {answer.device}</span>
      </p>
      {answer.thinking && <Thinking text={answer.thinking} isGrowing={running && !answer.content} />}
      {answer.content && <Markdown text={answer.content} isGrowing={running} />}
      {answer.toolCalls.map((call, index) => (
        <ToolCallView key={index} call={call} />
      ))}
      {answer.progress.phase === "waiting" && <Waiting answer={answer} sinceMs={answer.progress.sinceMs} />}
      {phase === "streaming" && !answer.content && <p class="status">Thinking …</p>}
      {isOffered && <Failure conversation={conversation} answer={answer} />}
      {!running && (
        <div class="message-tools">
          <Branches conversation={conversation.id} message={answer} siblings={siblings} />
          {answer.content && <CopyButton iconOnly text={answer.content} label="Copy answer" />}
          {!isOffered && (
            <IconButton label="Answer again" onClick={() => regenerate(conversation, answer)}>
              <Icon name="redo" />
            </IconButton>
          )}
          {answer.counts && <Cost counts={answer.counts} firstTokenMs={answer.firstTokenMs} />}
        </div>
      )}
    </article>
  );
}

function Thinking({ text, isGrowing }: { text: string; isGrowing: boolean }) {
  return (
    <details class="fold">
      <summary>{isGrowing ? "Thinking …" : "Thoughts"}</summary>
      <Markdown text={text} isGrowing={isGrowing} />
    </details>
  );
}

function ToolCallView({ call }: { call: ToolCall }) {
  return (
    <details class="fold">
      <summary>
        Wants to call <code>{call.name || "a tool"}</code>
      </summary>
      <pre tabIndex={0}>{JSON.stringify(call.arguments, null, 2)}</pre>
      <p class="field-hint">This page calls no tools: it only shows what the model asked for.</p>
    </details>
  );
}

function Waiting({ answer, sinceMs }: { answer: Answer; sinceMs: number }) {
  const seconds = useSeconds(sinceMs);
  const isLoading = stateOf(answer.device, answer.model) !== "loaded";
  const what = isLoading ? `Loading ${answer.model} on ${answer.device}` : "Waiting for the first word";
  return (
    <p class="status">
      <span class="pulse" aria-hidden="true" />
      {seconds < 1 ? "Asking …" : `${what} … ${seconds} s`}
    </p>
  );
}

/** Whole seconds since then, counted while it is shown. */
function useSeconds(sinceMs: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [sinceMs]);
  return Math.max(0, Math.floor((now - sinceMs) / 1000));
}

function Cost({ counts, firstTokenMs }: { counts: Counts; firstTokenMs: number | null }) {
  const speed = tokensPerSecond(counts);
  const parts = [
    speed === null ? null : `${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s`,
    `${counts.answerTokens} tokens`,
    firstTokenMs === null ? null : `first after ${(firstTokenMs / 1000).toFixed(1)} s`,
  ];
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const all = `Question: ${counts.promptTokens} tokens. Answer: ${counts.answerTokens} tokens in ${seconds(counts.answerMs)}. Loading: ${seconds(counts.loadMs)}. In all: ${seconds(counts.totalMs)}.`;
  return (
    <span class="cost" title={all}>
      {parts.filter(Boolean).join(" · ")}
    </span>
  );
}
