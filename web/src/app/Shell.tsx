// What is around every view: navigation and conversations in a sidebar, which a narrow screen shows as a drawer.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { session, signOut } from "../api/session";
import { ConversationList } from "../chat/ConversationList";
import { Button, IconButton } from "../ui/Button";
import { Icon, type IconName } from "../ui/Icon";
import { SignOutEverywhere } from "../signin/SignOutEverywhere";
import { Menu } from "../ui/Menu";
import { toastError } from "../ui/toast";
import { isHelpOpen } from "./Help";
import { go, route } from "./navigation";
import { formatRoute, type Route } from "./router";
import { setTheme, theme, type Theme } from "./theme";

/** Whether a narrow screen shows the sidebar. */
export const isDrawerOpen = signal(false);

const places: { to: Route; label: string; icon: IconName }[] = [
  { to: { view: "chat", conversation: null }, label: "Chat", icon: "chat" },
  { to: { view: "devices", confirm: null }, label: "Devices", icon: "device" },
  { to: { view: "keys" }, label: "Keys", icon: "key" },
  { to: { view: "requests" }, label: "Requests", icon: "requests" },
];

export function Shell({ children }: { children: ComponentChildren }) {
  const now = route.value;
  useEffect(() => {
    isDrawerOpen.value = false; // whoever has chosen wants to see it
  }, [now]);
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>
        Skip to the content
      </a>
      {isDrawerOpen.value && <div class="backdrop" onClick={() => (isDrawerOpen.value = false)} />}
      <aside id="sidebar" class={`sidebar${isDrawerOpen.value ? " sidebar-open" : ""}`} onKeyDown={(event) => event.key === "Escape" && (isDrawerOpen.value = false)}>
        <div class="sidebar-head">
          <img src="/favicon.svg" alt="" width="24" height="24" />
          <span class="brand">c2l</span>
          <IconButton label="Close the menu" class="narrow-only" onClick={() => (isDrawerOpen.value = false)}>
            <Icon name="close" />
          </IconButton>
        </div>
        <nav class="nav" aria-label="Views">
          {places.map(({ to, label, icon }) => (
            <a key={label} href={formatRoute(to)} class="nav-item" aria-current={to.view === now.view ? "page" : undefined}>
              <Icon name={icon} />
              {label}
            </a>
          ))}
        </nav>
        <ConversationList current={now.view === "chat" ? now.conversation : null} />
        <Account />
      </aside>
      <main id="main" class="main" tabIndex={-1}>{children}</main>
    </div>
  );
}

/** Opens the drawer; each view puts it at the start of its own head. */
export function DrawerButton() {
  return (
    <IconButton label="Menu" class="narrow-only" aria-expanded={isDrawerOpen.value} aria-controls="sidebar" onClick={() => (isDrawerOpen.value = true)}>
      <Icon name="menu" />
    </IconButton>
  );
}

/** The head of a view other than the chat: its name, and what can be done in it. */
export function PageHead({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <header class="page-head">
      <DrawerButton />
      <h1>{title}</h1>
      <div class="page-actions">{children}</div>
    </header>
  );
}

function Account() {
  const [isAsking, setAsking] = useState(false);
  const now = session.value;
  const user = now.phase === "signed_in" || now.phase === "signed_out" ? (now.answer.user ?? "") : "";
  const themes: { value: Theme; label: string }[] = [
    { value: "system", label: "Theme of the system" },
    { value: "light", label: "Light" },
    { value: "dark", label: "Dark" },
  ];
  return (
    <div class="account">
      <Menu
        up
        label={`Account and settings${user ? ` of ${user}` : ""}`}
        class="account-button"
        items={[
          ...themes.map(({ value, label }) => ({ label, checked: theme.value === value, onSelect: () => setTheme(value) })),
          { label: "Sign out everywhere …", onSelect: () => setAsking(true) },
          { label: "Sign out", danger: true, onSelect: () => void signOut().then(() => go({ view: "chat", conversation: null }), toastError) },
        ]}
      >
        <Icon name="user" />
        <span class="account-name">{user || "Account"}</span>
      </Menu>
      <Button kind="quiet" class="button-icon" aria-label="Keyboard and help" title="Keyboard and help" onClick={() => (isHelpOpen.value = true)}>
        <Icon name="help" />
      </Button>
      {isAsking && <SignOutEverywhere onClose={() => setAsking(false)} />}
    </div>
  );
}
