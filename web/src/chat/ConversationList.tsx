// The conversations kept in this browser: newest first, searched by what was said in them.
import { useEffect, useRef, useState } from "preact/hooks";
import { formatRoute } from "../app/router";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";
import { toastError } from "../ui/toast";
import { ConversationMenu } from "./ConversationMenu";
import { readFromFile, saveAsFile } from "./files";
import { searchSummaries, startLibrary, summaries } from "./library";

/** More are found by a search. */
const most_shown = 300;

export function ConversationList({ current }: { current: string | null }) {
  const [query, setQuery] = useState("");
  const picker = useRef<HTMLInputElement>(null);
  useEffect(() => void startLibrary().catch(toastError), []);
  const found = searchSummaries(summaries.value, query);
  return (
    <section class="conversations" aria-label="Conversations">
      <div class="conversations-head">
        <input
          id="search"
          class="input search"
          type="search"
          placeholder="Search conversations"
          aria-label="Search conversations"
          aria-keyshortcuts="Control+K"
          value={query}
          onInput={(event) => setQuery(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape" && query) {
              event.stopPropagation();
              event.preventDefault();
              setQuery("");
            }
          }}
        />
        <Menu
          label="All conversations"
          alignEnd
          items={[
            { label: "Import", icon: <Icon name="upload" />, onSelect: () => picker.current!.click() },
            { label: "Export all", icon: <Icon name="download" />, disabled: summaries.value.length === 0, onSelect: () => void saveAsFile().catch(toastError) },
          ]}
        >
          <Icon name="more" />
        </Menu>
        <input
          ref={picker}
          type="file"
          accept="application/json,.json"
          hidden
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) void readFromFile(file);
            event.currentTarget.value = "";
          }}
        />
      </div>
      <ul class="conversation-list">
        {found.slice(0, most_shown).map(({ id, title }) => (
          <li key={id} class={`conversation-item${id === current ? " is-current" : ""}`}>
            <a href={formatRoute({ view: "chat", conversation: id })} aria-current={id === current ? "page" : undefined} title={title}>
              {title}
            </a>
            <ConversationMenu id={id} title={title} isCurrent={id === current} alignEnd />
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="conversations-none">{query ? "Nothing is found." : "Your conversations will be here, in this browser alone."}</p>}
    </section>
  );
}
