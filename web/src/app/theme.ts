// Light, dark or as the system says. Remembered in this browser; works without storage too.
import { signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
const key = "c2l-theme";

export const theme = signal<Theme>("system");

export function startTheme(): void {
  const kept = read();
  apply(kept === "light" || kept === "dark" ? kept : "system");
}

export function setTheme(to: Theme): void {
  apply(to);
  try {
    localStorage.setItem(key, to);
  } catch {
    // A browser that keeps nothing still shows it until the page is left.
  }
}

function apply(to: Theme): void {
  theme.value = to;
  if (to === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = to;
}

function read(): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
