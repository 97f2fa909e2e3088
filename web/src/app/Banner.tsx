// Says at the top of every view that the relay does not answer, and when it is asked next. It goes by itself; nothing has to be reloaded.
import { askNow, reach } from "../api/connection";
import { Button } from "../ui/Button";
import { Icon } from "../ui/Icon";
import { useNow } from "../ui/useNow";

export function ConnectionBanner() {
  const now = reach.value;
  // The live region is there before it is filled: only then is it read out.
  return <div role="status">{now.phase === "lost" && <Lost next_ms={now.next_ms} />}</div>;
}

function Lost({ next_ms }: { next_ms: number | null }) {
  const now_ms = useNow(1000);
  const seconds = next_ms === null ? 0 : Math.max(1, Math.ceil((next_ms - now_ms) / 1000));
  return (
    <div class="banner">
      <Icon name="warning" />
      <p>
        <strong>The relay does not answer.</strong> The page goes on by itself when it is back.{" "}
        {/* Counting down aloud would drown everything else. */}
        <span aria-hidden="true">{next_ms === null ? "Asking now …" : `Next try in ${seconds} s.`}</span>
      </p>
      <Button onClick={askNow} disabled={next_ms === null}>Try now</Button>
    </div>
  );
}
