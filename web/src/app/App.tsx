// The page as a whole: which view is shown, and the sign-in instead of it or over it.
//
// When a session ends in the middle of work the view stays where it is, below the sign-in: nothing typed is lost.
import { refreshSession, session } from "../api/session";
import { ChatView } from "../chat/View";
import { DevicesView } from "../devices/View";
import { KeysView } from "../keys/View";
import { RequestsView } from "../requests/View";
import { SignInView } from "../signin/View";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { Problem } from "../ui/Problem";
import { Toasts } from "../ui/toast";
import { ConnectionBanner } from "./Banner";
import { HelpDialog } from "./Help";
import { route } from "./navigation";
import { Shell } from "./Shell";

export function App() {
  return (
    <>
      <ConnectionBanner />
      <Content />
      <Toasts />
    </>
  );
}

function Content() {
  const now = session.value;
  const asked = route.value.view === "signin" ? route.value : { link: null, error: null };
  if (now.phase === "asking") return <p class="splash" role="status">Connecting to the relay …</p>;
  if (now.phase === "unreachable") {
    return (
      <main class="splash">
        <Problem error={now.error}>
          <Button kind="primary" onClick={() => void refreshSession()}>Try again</Button>
        </Problem>
      </main>
    );
  }
  const isOver = now.phase === "signed_out" && now.expired;
  if (now.phase === "signed_out" && !isOver) return <main class="signin-page"><SignInView overlay={false} {...pick(asked)} /></main>;
  return (
    <>
      <Shell><View /></Shell>
      <HelpDialog />
      {isOver && <Dialog title="Sign in again"><SignInView overlay {...pick(asked)} /></Dialog>}
    </>
  );
}

function pick({ link, error }: { link: string | null; error: string | null }) {
  return { link, error };
}

function View() {
  const now = route.value;
  switch (now.view) {
    case "devices":
      return <DevicesView confirm={now.confirm} />;
    case "keys":
      return <KeysView />;
    case "requests":
      return <RequestsView />;
    case "signin": // somebody who is signed in already
      return <ChatView conversation={null} />;
    case "chat":
      return <ChatView conversation={now.conversation} />;
  }
}
