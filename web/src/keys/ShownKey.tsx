// A new key, this once, with lines that use it. It is not kept: closing this forgets it, so closing takes a press of its own button.
import { useState } from "preact/hooks";
import { session } from "../api/session";
import { relayOrigin } from "../devices/state";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { Lines } from "../ui/Lines";
import { Tabs } from "../ui/Tabs";
import { snippetsFor } from "./snippets";
import type { NewKey } from "./state";

export function ShownKey({ made, onClose }: { made: NewKey; onClose: () => void }) {
  const now = session.value;
  const origin = relayOrigin(now.phase === "signed_in" ? now.answer.public_url : null, location.origin);
  const snippets = snippetsFor(origin, made);
  const [chosen, setChosen] = useState("shell");
  return (
    <Dialog wide title={`The key ${made.name}`} actions={<Button kind="primary" onClick={onClose}>I have kept it</Button>}>
      <p class="note"><strong>It is shown only now.</strong> The relay keeps no copy that could be shown again.</p>
      <Lines label="the key" text={made.key} />
      {made.device !== null && <p class="quiet">It reaches {made.device} alone.</p>}
      <Tabs label="Lines that use it" chosen={chosen} onChoose={setChosen} tabs={snippets.map(({ id, name }) => ({ id, name }))}>
        {snippets
          .find(({ id }) => id === chosen)
          ?.parts.map(({ label, text }) => (
            <section key={label} class="stack-tight">
              <h3>{label}</h3>
              <Lines label={label} text={text} />
            </section>
          ))}
      </Tabs>
    </Dialog>
  );
}
