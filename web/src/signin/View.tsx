// Signing in. Shown instead of the page to who has never been signed in here, and over the page (`overlay`) when a session ends in the
// middle of work; it is done when `session` says `signed_in`.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { refreshSession, session, signInWith, type Issuer } from "../api/session";
import { go, route } from "../app/navigation";
import { Button } from "../ui/Button";
import { Field } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { Lines } from "../ui/Lines";
import { Prose } from "../ui/Prose";
import { useNow } from "../ui/useNow";
import { arrive, leaveForProvider } from "./place";
import { isRefused, problemOf, problemOfWord, providerName, secondsLeft, tokenOf, type SignInProblem, type Way } from "./state";

export function SignInView({ overlay, link, error }: { overlay: boolean; link: string | null; error: string | null }) {
  const [problem, setProblem] = useState<SignInProblem | null>(error === null ? null : problemOfWord(error));
  const [isBusy, setBusy] = useState(false);
  const now = session.value;
  // One thing at a time: the other ways are there when the link was none.
  const withLink = canKeepCookie() ? link : null;
  const ways = now.phase === "signed_out" && withLink === null ? now.answer.ways : null;

  const signIn = async (way: Way, secret: string): Promise<boolean> => {
    setBusy(true);
    setProblem(null);
    try {
      await signInWith(way === "link" ? { link: secret } : { token: secret });
      arrive();
      return true;
    } catch (thrown) {
      if (way === "link" && isRefused(thrown)) forgetLink();
      setProblem(problemOf(thrown, way, Date.now()));
      return false;
    } finally {
      setBusy(false);
    }
  };
  useEffect(() => {
    // Somebody may have signed in in another tab of this browser.
    const look = (): void => {
      if (document.visibilityState === "visible") void refreshSession();
    };
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);

  return (
    <section class="signin" aria-busy={isBusy}>
      {!overlay && (
        <header class="signin-head">
          <img src="/favicon.svg" alt="" width="40" height="40" />
          <h1>Sign in to c2l</h1>
          <p>Your own models, from any browser.</p>
        </header>
      )}
      {overlay && <p>Your time here has run out. What you were doing is kept, and goes on when you are signed in again.</p>}
      {!canKeepCookie() && <PlainHttp />}
      {problem && <WhatWentWrong problem={problem} />}
      {withLink !== null && <LinkForm isBusy={isBusy} onPress={() => void signIn("link", withLink)} />}
      {(ways?.issuers ?? []).map((issuer) => (
        <Provider key={issuer.id} issuer={issuer} overlay={overlay} />
      ))}
      {ways && ways.issuers.length > 0 && ways.token && <p class="or"><span>or</span></p>}
      {ways?.token && <TokenForm isBusy={isBusy} until_ms={problem?.until_ms ?? null} onToken={(token) => signIn("token", token)} />}
      {ways?.link && <HowToGetIn />}
    </section>
  );
}

/** A browser keeps the cookie, which is marked Secure, only on https and on this very machine. */
function canKeepCookie(): boolean {
  return window.isSecureContext;
}

/** A link is good once: it is used by a press, and not by whatever opens links to look at what is behind them. */
function LinkForm({ isBusy, onPress }: { isBusy: boolean; onPress: () => void }) {
  return (
    <div class="stack">
      <p>The link that you have opened signs this browser in, once.</p>
      <Button kind="primary" class="button-wide" disabled={isBusy} onClick={onPress}>
        {isBusy ? "Signing in …" : `Sign in to ${location.host}`}
      </Button>
    </div>
  );
}

/** Used up or no link at all, it leads nowhere any more. */
function forgetLink(): void {
  if (route.value.view === "signin") go({ view: "signin", link: null, error: null }, { replace: true });
}

function PlainHttp() {
  return (
    <Warning>
      <strong>Signing in cannot work at this address.</strong> Over plain <code>http:</code> your browser would not keep the sign-in, and
      anybody on the way could take it. Open the page over <code>https:</code>, or on the relay's own machine as{" "}
      <code>http://localhost{location.port ? `:${location.port}` : ""}</code>.
    </Warning>
  );
}

function WhatWentWrong({ problem }: { problem: SignInProblem }) {
  const now_ms = useNow(1000);
  const seconds = secondsLeft(problem.until_ms, now_ms);
  return (
    <Warning>
      <strong><Prose text={problem.sentence} /></strong> <Prose text={problem.next} />
      {problem.until_ms !== null && (seconds > 0 ? <span aria-live="off">Wait {seconds} s, then try again.</span> : "Now you can try again.")}
    </Warning>
  );
}

function Warning({ children }: { children: ComponentChildren }) {
  return (
    <div class="problem" role="alert">
      <Icon name="warning" />
      <p>{children}</p>
    </div>
  );
}

function Provider({ issuer, overlay }: { issuer: Issuer; overlay: boolean }) {
  // Over the page it opens beside it, so that what is below stays as it is; coming back is noticed.
  const elsewhere = overlay ? { target: "_blank", rel: "noopener" } : { onClick: leaveForProvider };
  return (
    <a class="button button-primary button-wide" href={issuer.url} {...elsewhere}>
      Continue with {providerName(issuer.name)}
    </a>
  );
}

function TokenForm({ isBusy, until_ms, onToken }: { isBusy: boolean; until_ms: number | null; onToken: (token: string) => Promise<boolean> }) {
  const [typed, setTyped] = useState("");
  const [error, setError] = useState<string>();
  const now_ms = useNow(1000);
  const mustWait = secondsLeft(until_ms, now_ms) > 0;
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const token = tokenOf(typed);
    if (token === null) return setError(typed.trim() ? "This is no token: it is one long word." : "Paste a token first.");
    if (await onToken(token)) setTyped("");
  };
  return (
    <form class="stack" onSubmit={(event) => void submit(event)}>
      <Field
        label="Token"
        type="password"
        autoComplete="off"
        spellcheck={false}
        value={typed}
        error={error}
        hint="One with the scope `account`. It is exchanged for a cookie that scripts cannot read, and is not kept."
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setError(undefined);
        }}
      />
      <Button type="submit" kind="primary" class="button-wide" disabled={isBusy || mustWait}>
        {isBusy ? "Signing in …" : "Sign in"}
      </Button>
    </form>
  );
}

function HowToGetIn() {
  return (
    <details class="how">
      <summary>How do I get in?</summary>
      <div class="stack">
        <p>On the relay's own machine, this prints a link that signs one browser in, once, within 15 minutes:</p>
        <Lines label="command for a link" text="c2l user link" />
        <p>Or a token to paste here:</p>
        <Lines label="command for a token" text="c2l token issue --user owner --kind api --scope account --ttl 10m" />
      </div>
    </details>
  );
}
