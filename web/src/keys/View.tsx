// Keys for programs: made, shown once, exchanged and revoked.
import { useState } from "preact/hooks";
import { PageHead } from "../app/Shell";
import { Button } from "../ui/Button";
import { Confirm } from "../ui/Confirm";
import { ago, moment, roughly } from "../ui/format";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";
import { Problem } from "../ui/Problem";
import { Table, type Column } from "../ui/Table";
import { toast } from "../ui/toast";
import { useNow } from "../ui/useNow";
import { usePoll } from "../ui/usePoll";
import { listKeys, revokeKey } from "./calls";
import { CreateKey } from "./CreateKey";
import { RotateKey } from "./RotateKey";
import { ShownKey } from "./ShownKey";
import { endingOf, limitsOf, type Key, type NewKey } from "./state";

type Asked = { what: "create" } | { what: "rotate" | "revoke"; key: Key } | { what: "shown"; key: NewKey } | null;

export function KeysView() {
  const [keys, setKeys] = useState<Key[] | null>(null);
  const [asked, setAsked] = useState<Asked>(null);
  const { error, refresh } = usePoll(15_000, async (signal) => setKeys(await listKeys(signal)));
  const now_ms = useNow(30_000);
  const close = (): void => setAsked(null);
  const made = (key: NewKey): void => {
    setAsked({ what: "shown", key });
    refresh();
  };
  return (
    <>
      <PageHead title="Keys">
        <Button kind="primary" onClick={() => setAsked({ what: "create" })}>
          <Icon name="add" /> New key
        </Button>
      </PageHead>
      <div class="page">
        <p class="quiet">A key lets a program use your models. It can be limited, and taken back one by one.</p>
        {error !== null && !keys && <Problem error={error}><Button onClick={refresh}>Try again</Button></Problem>}
        {!keys && error === null && <p class="quiet" role="status">Looking for your keys …</p>}
        {keys && (
          <Table
            caption="Your keys"
            columns={columns(now_ms, (what, key) => setAsked({ what, key }))}
            rows={[...keys].reverse()}
            rowKey={(key) => key.id}
            empty={<NoKeys onCreate={() => setAsked({ what: "create" })} />}
          />
        )}
      </div>
      {asked?.what === "create" && <CreateKey onMade={made} onClose={close} />}
      {asked?.what === "shown" && <ShownKey made={asked.key} onClose={close} />}
      {asked?.what === "rotate" && <RotateKey old={asked.key} onMade={made} onClose={close} />}
      {asked?.what === "revoke" && <Revoke known={asked.key} onClose={close} onChanged={refresh} />}
    </>
  );
}

function columns(now_ms: number, ask: (what: "rotate" | "revoke", key: Key) => void): Column<Key>[] {
  return [
    { name: "Name", cell: (key) => <span><strong>{key.name}</strong> <span class="mono quiet">{key.id}</span></span> },
    { name: "May", cell: (key) => <span>{limitsOf(key).join(" · ") || "use every model"}</span> },
    { name: "Made", cell: (key) => <span class="nowrap" title={moment(key.created_unix_seconds * 1000)}>{ago(key.created_unix_seconds * 1000, now_ms)}</span> },
    { name: "Last used", cell: (key) => <span class="nowrap">{key.last_used_unix_seconds === null ? "never" : ago(key.last_used_unix_seconds * 1000, now_ms)}</span> },
    { name: "Ends", cell: (key) => <Ends known={key} now_ms={now_ms} /> },
    {
      name: "Actions",
      hideName: true,
      cell: (key) => (
        <Menu
          label={`What to do with ${key.name}`}
          alignEnd
          items={[
            { label: "Exchange for a new one", icon: <Icon name="redo" />, onSelect: () => ask("rotate", key) },
            { label: "Revoke", icon: <Icon name="trash" />, danger: true, onSelect: () => ask("revoke", key) },
          ]}
        >
          <Icon name="more" />
        </Menu>
      ),
    },
  ];
}

function Ends({ known, now_ms }: { known: Key; now_ms: number }) {
  const ending = endingOf(known.expires_unix_seconds, now_ms);
  switch (ending.text) {
    case "never":
      return <span class="nowrap">when revoked</span>;
    case "ended":
      return <span class="badge badge-bad">ended</span>;
    case "soon":
      return <span class="badge badge-warn">in {roughly(ending.left_ms)}</span>;
    case "later":
      return <span class="nowrap">in {roughly(ending.left_ms)}</span>;
  }
}

function NoKeys({ onCreate }: { onCreate: () => void }) {
  return (
    <>
      <p><strong>No keys yet.</strong></p>
      <p>Make one for each program or container, so that each can be taken back alone.</p>
      <Button onClick={onCreate}>Make the first one</Button>
    </>
  );
}

function Revoke({ known, onClose, onChanged }: { known: Key; onClose: () => void; onChanged: () => void }) {
  const revoke = async (): Promise<void> => {
    await revokeKey(known.id);
    toast(`${known.name} opens nothing any more.`);
    onChanged();
  };
  return (
    <Confirm title={`Revoke ${known.name}?`} action="Revoke" onConfirm={revoke} onClose={onClose}>
      <p>Whatever uses it is refused from now on, and what it has under way ends at once. This cannot be undone.</p>
    </Confirm>
  );
}
