// A question, and its field when it is edited.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { CopyButton } from "../ui/copy";
import { Button, IconButton } from "../ui/Button";
import { Icon } from "../ui/Icon";
import { askAgain } from "./actions";
import { Branches } from "./Branches";
import type { Conversation, Message, Question } from "./conversation";
import { imageAddress } from "./images";
import { fitHeight, isSendKey } from "./textarea";

interface Props {
  conversation: Conversation;
  question: Question;
  siblings: Message[];
}

export function QuestionView({ conversation, question, siblings }: Props) {
  const [isEdited, setEdited] = useState(false);
  return (
    <article class="question" aria-label="You">
      {question.images.length > 0 && (
        <div class="images">
          {question.images.map((image, index) => (
            <img key={index} src={imageAddress(image)} alt={`Image ${index + 1} of this message`} />
          ))}
        </div>
      )}
      {isEdited ? (
        <Editor
          text={question.content}
          onCancel={() => setEdited(false)}
          onSend={(text) => {
            setEdited(false);
            askAgain(conversation, question, text);
          }}
        />
      ) : (
        question.content && <div class="bubble">{question.content}</div>
      )}
      {!isEdited && (
        <div class="message-tools">
          <Branches conversation={conversation.id} message={question} siblings={siblings} />
          <CopyButton iconOnly text={question.content} label="Copy message" />
          <IconButton label="Edit and send again" data-edit={question.id} onClick={() => setEdited(true)}>
            <Icon name="edit" />
          </IconButton>
        </div>
      )}
    </article>
  );
}

function Editor({ text: before, onCancel, onSend }: { text: string; onCancel: () => void; onSend: (text: string) => void }) {
  const [text, setText] = useState(before);
  const field = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const element = field.current!;
    element.focus();
    element.setSelectionRange(before.length, before.length);
    fitHeight(element);
  }, []);
  return (
    <div class="editor">
      <textarea
        ref={field}
        class="input"
        aria-label="Edit the message"
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          fitHeight(event.currentTarget);
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.preventDefault();
            onCancel();
          } else if (isSendKey(event) && text.trim()) {
            event.preventDefault();
            onSend(text);
          }
        }}
      />
      <div class="dialog-actions">
        <Button onClick={onCancel}>Cancel</Button>
        <Button kind="primary" disabled={!text.trim()} onClick={() => onSend(text)}>
          Send
        </Button>
      </div>
    </div>
  );
}
