// Where a message is written. The text is kept at each key, see `draft`; images are pasted, dropped or picked.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { IconButton } from "../ui/Button";
import { Icon } from "../ui/Icon";
import { toast } from "../ui/toast";
import { choiceOf, stopShown } from "./actions";
import { branch, isRunning, type Conversation } from "./conversation";
import { keepDraft, readDraft } from "./draft";
import { imageAddress, imageFiles, most_images, readImage } from "./images";
import { capabilitiesOf } from "./modelList";
import { fitHeight, isSendKey } from "./textarea";

interface Props {
  /** Whose draft it is: the id in the address, also while its conversation is still read. */
  id: string | null;
  conversation: Conversation | null;
  /** False when it could not be sent; the text then stays. */
  onSend: (text: string, images: string[]) => boolean;
}

export function Composer({ id, conversation, onSend }: Props) {
  const [text, setText] = useState(() => readDraft(id));
  const [images, setImages] = useState<string[]>([]);
  const field = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const canSee = useCanSee(conversation);
  const last = conversation ? branch(conversation).at(-1) : undefined;
  const isAnswering = last?.role === "assistant" && isRunning(last);

  // With what is shown, and not later: a late one would take the focus from whoever has moved on by then.
  useLayoutEffect(() => {
    // A touch keyboard that opens by itself hides half of the page.
    if (!matchMedia("(pointer: coarse)").matches) field.current!.focus();
  }, []);
  useEffect(() => fitHeight(field.current!), [text]);

  const write = (to: string): void => {
    setText(to);
    keepDraft(id, to);
  };
  const send = (): void => {
    if (isAnswering || (!text.trim() && images.length === 0)) return;
    if (!onSend(text, images)) return;
    write("");
    setImages([]);
  };
  const take = async (files: Iterable<File>): Promise<void> => {
    const chosen = imageFiles(files, most_images - images.length);
    if (chosen.images.length > 0 && canSee === false) return toast("This model does not see images; choose one that does.", "error");
    if (chosen.left > 0) toast(`At most ${most_images} images go with a message.`, "error");
    for (const file of chosen.images) {
      try {
        const image = await readImage(file);
        setImages((before) => (before.length < most_images ? [...before, image] : before));
      } catch (error) {
        toast(error instanceof Error ? error.message : String(error), "error");
      }
    }
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (isSendKey(event)) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && text === "" && conversation) {
      const question = branch(conversation).findLast((message) => message.role === "user");
      const edit = question && document.querySelector<HTMLButtonElement>(`[data-edit="${question.id}"]`);
      if (edit) {
        event.preventDefault();
        edit.click();
      }
    }
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        void take(event.dataTransfer?.files ?? []);
      }}
    >
      <div class="composer-box">
        {images.length > 0 && <Attached images={images} onRemove={(index) => setImages(images.filter((_, each) => each !== index))} />}
        <textarea
          id="message"
          ref={field}
          rows={1}
          value={text}
          placeholder="Message"
          aria-label="Message"
          enterkeyhint="send"
          onInput={(event) => write(event.currentTarget.value)}
          onKeyDown={onKeyDown}
          onPaste={(event) => {
            const files = event.clipboardData?.files;
            if (!files?.length) return;
            event.preventDefault();
            void take(files);
          }}
        />
        <div class="composer-tools">
          <input
            ref={picker}
            type="file"
            accept="image/*"
            multiple
            hidden
            onChange={(event) => {
              void take(event.currentTarget.files ?? []);
              event.currentTarget.value = ""; // so that the same one can be picked again
            }}
          />
          <IconButton label={canSee === false ? "This model does not see images" : "Add images"} disabled={canSee === false} onClick={() => picker.current!.click()}>
            <Icon name="image" />
          </IconButton>
          {isAnswering ? (
            // Elements of their own: a press on one must not become a press on the other.
            <IconButton key="stop" kind="primary" class="round" label="Stop" onClick={() => conversation && stopShown(conversation)}>
              <Icon name="stop" />
            </IconButton>
          ) : (
            <IconButton key="send" kind="primary" class="round" type="submit" label="Send" disabled={!text.trim() && images.length === 0}>
              <Icon name="send" />
            </IconButton>
          )}
        </div>
      </div>
    </form>
  );
}

function Attached({ images, onRemove }: { images: string[]; onRemove: (index: number) => void }) {
  return (
    <ul class="attached" aria-label="Images of this message">
      {images.map((image, index) => (
        <li key={index}>
          <img src={imageAddress(image)} alt={`Image ${index + 1}`} />
          <IconButton kind="plain" label={`Remove image ${index + 1}`} onClick={() => onRemove(index)}>
            <Icon name="close" />
          </IconButton>
        </li>
      ))}
    </ul>
  );
}

/** Whether the chosen model sees images; null when nobody says. */
function useCanSee(conversation: Conversation | null): boolean | null {
  const choice = choiceOf(conversation);
  const [can, setCan] = useState<string[] | null>(null);
  useEffect(() => {
    let isOff = false;
    setCan(null);
    if (choice) void capabilitiesOf(choice.device, choice.model).then((told) => !isOff && setCan(told));
    return () => {
      isOff = true;
    };
  }, [choice?.device, choice?.model]);
  return can && can.includes("vision");
}
