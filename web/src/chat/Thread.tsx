// The messages of the branch that is shown. Follows the end while somebody is there, and stays where they have scrolled to.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../ui/Icon";
import { IconButton } from "../ui/Button";
import { AnswerView } from "./AnswerView";
import { Announcer } from "./announce";
import { branch, siblings, type Conversation } from "./conversation";
import { QuestionView } from "./QuestionView";

/** How near to the end still counts as there. */
const near_px = 60;

export function Thread({ conversation }: { conversation: Conversation }) {
  const scroller = useRef<HTMLDivElement>(null);
  const [isFollowing, setFollowing] = useState(true);
  const messages = branch(conversation);
  const asked = messages.findLast((message) => message.role === "user")?.id;

  useEffect(() => setFollowing(true), [asked]); // whoever asks wants to see the answer
  useLayoutEffect(() => {
    const element = scroller.current!;
    if (isFollowing) element.scrollTop = element.scrollHeight;
  }, [conversation, isFollowing]);
  const scrolled = (): void => {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current!;
    setFollowing(scrollHeight - scrollTop - clientHeight < near_px);
  };
  return (
    <div class="thread" ref={scroller} onScroll={scrolled} tabIndex={0} role="region" aria-label="Conversation">
      <div class="column">
        {messages.map((message) => {
          const all = siblings(conversation, message);
          return message.role === "user" ? (
            <QuestionView key={message.id} conversation={conversation} question={message} siblings={all} />
          ) : (
            <AnswerView key={message.id} conversation={conversation} answer={message} siblings={all} isLast={message.id === conversation.head} />
          );
        })}
      </div>
      {!isFollowing && (
        <IconButton kind="plain" class="to-end" label="To the end" onClick={() => setFollowing(true)}>
          <Icon name="chevron" />
        </IconButton>
      )}
      <LiveRegion conversation={conversation} />
    </div>
  );
}

/** Tells a screen reader how the answer goes on; see `announce`. */
function LiveRegion({ conversation }: { conversation: Conversation }) {
  const element = useRef<HTMLDivElement>(null);
  const announcer = useRef<Announcer | null>(null);
  announcer.current ??= new Announcer((text) => {
    if (element.current) element.current.textContent = text;
  });
  const last = branch(conversation).at(-1);
  useEffect(() => {
    if (last?.role === "assistant") announcer.current!.update(last.content, last.progress.phase);
  }, [last]);
  useEffect(() => () => announcer.current!.reset(), []);
  return <div class="visually-hidden" role="status" aria-live="polite" ref={element} />;
}
