// Which model answers: a button that tells it, and a list to search, by device and with each model's state.
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../ui/Icon";
import { useOutside } from "../ui/useOutside";
import type { ModelChoice } from "./conversation";
import { filterModels, markedIn, type Model, type ModelState } from "./models";
import { listState, models, refreshModels, stateOf } from "./modelList";

interface Props {
  choice: ModelChoice | null;
  onChoose: (choice: ModelChoice) => void;
}

export function ModelPicker({ choice, onChoose }: Props) {
  const [isOpen, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (isOpen) void refreshModels();
  }, [isOpen]);
  useOutside(root, isOpen, () => setOpen(false));
  const close = (): void => {
    setOpen(false);
    button.current?.focus();
  };
  const state = choice && stateOf(choice.device, choice.model);
  return (
    <div class="picker" ref={root}>
      <button ref={button} type="button" class="picker-button" aria-haspopup="dialog" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span class="visually-hidden">Model: </span>
        <span class="picker-model">{choice?.model ?? "Choose a model"}</span>
        {choice && (
          <span class="picker-device">
            <Dot state={state} />
            {choice.device}
            {state && state !== "loaded" ? `, ${state}` : ""}
          </span>
        )}
        <Icon name="chevron" />
      </button>
      {isOpen && (
        <Choices
          choice={choice}
          onClose={close}
          onChoose={(to) => {
            close();
            onChoose(to);
          }}
        />
      )}
    </div>
  );
}

function Choices({ choice, onChoose, onClose }: Props & { onClose: () => void }) {
  const [query, setQuery] = useState("");
  const [marked, setMarked] = useState(choice);
  const found = filterModels(models.value, query);
  const list = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const at = markedIn(found, marked);

  // Before the next key can come: an effect after the drawing would leave the first letters, and Enter, to the button.
  useLayoutEffect(() => input.current!.focus(), []);
  useEffect(() => list.current?.querySelector("[data-marked]")?.scrollIntoView({ block: "nearest" }), [at]);
  const onKeyDown = (event: KeyboardEvent): void => {
    // Enter ends a word there, or is still held down from opening the list.
    if (event.isComposing || (event.key === "Enter" && event.repeat)) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + found.length, Home: 0, End: found.length - 1 }[event.key];
    const model = found[at];
    if (to !== undefined && found.length > 0) setMarked(choiceOf(found[to % found.length]!));
    else if (event.key === "Enter" && model) onChoose(choiceOf(model));
    else if (event.key === "Escape") onClose();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="picker-list" role="dialog" aria-label="Models">
      <input
        ref={input}
        class="input"
        type="search"
        role="combobox"
        list={undefined}
        aria-label="Search models"
        aria-expanded="true"
        aria-controls={id}
        aria-activedescendant={at >= 0 ? `${id}-${at}` : undefined}
        placeholder="Search models"
        value={query}
        onInput={(event) => {
          setQuery(event.currentTarget.value);
          setMarked(null);
        }}
        onKeyDown={onKeyDown}
      />
      <div id={id} ref={list} class="picker-options" role="listbox" aria-label="Models">
        {found.map((model, index) => (
          <Option
            key={`${model.device} ${model.name}`}
            id={`${id}-${index}`}
            model={model}
            isFirstOfDevice={found[index - 1]?.device !== model.device}
            isMarked={index === at}
            isChosen={isChosen(model, choice)}
            onChoose={() => onChoose(choiceOf(model))}
          />
        ))}
      </div>
      {found.length === 0 && <p class="picker-none">{query ? "No model is called so." : listState.value.phase === "asking" ? "Asking your devices …" : "No models."}</p>}
    </div>
  );
}

interface OptionProps {
  id: string;
  model: Model;
  isFirstOfDevice: boolean;
  isMarked: boolean;
  isChosen: boolean;
  onChoose: () => void;
}

function Option({ id, model, isFirstOfDevice, isMarked, isChosen, onChoose }: OptionProps) {
  return (
    <>
      {isFirstOfDevice && <div class="picker-group" role="presentation">{model.device}</div>}
      <div id={id} role="option" class="picker-option" aria-selected={isChosen} data-marked={isMarked ? "" : undefined} onClick={onChoose}>
        <span class="picker-name">
          {model.name}
          {model.details && <small>{model.details}</small>}
        </span>
        <span class="picker-state">
          <Dot state={model.state} />
          {model.isCloud ? `cloud, ${model.state}` : model.state}
          <span class="visually-hidden"> on {model.device}</span>
        </span>
      </div>
    </>
  );
}

function Dot({ state }: { state: ModelState | null }) {
  return <span class={`dot dot-${state === "loaded" ? "good" : state === "on disk" ? "idle" : "off"}`} aria-hidden="true" />;
}

function choiceOf(model: Model): ModelChoice {
  return { device: model.device, model: model.name };
}

function isChosen(model: Model, choice: ModelChoice | null): boolean {
  return model.device === choice?.device && model.name === choice.model;
}
