// What is put into finished prose after it was parsed: formulas, colours of code inside lists and quotes, tables that scroll on their own.
import { highlight } from "./highlight";
import { display_class, inline_class } from "./math";
import { typeset } from "./typeset";

/** Works on `root`, later too, when libraries have come; what it returns calls that off. */
export function decorate(root: HTMLElement): () => void {
  const state = { isOff: false };
  for (const table of root.querySelectorAll("table")) wrapTable(table);
  for (const element of root.querySelectorAll<HTMLElement>(`.${inline_class}, .${display_class}`)) void showFormula(element, state);
  for (const code of root.querySelectorAll<HTMLElement>("pre > code[class^=language-]")) void colour(code, state);
  return () => {
    state.isOff = true;
  };
}

function wrapTable(table: HTMLTableElement): void {
  const box = document.createElement("div");
  box.className = "table-box";
  box.tabIndex = 0; // so that the keyboard scrolls it
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Table");
  table.replaceWith(box);
  box.append(table);
}

async function showFormula(element: HTMLElement, state: { isOff: boolean }): Promise<void> {
  const isDisplay = element.classList.contains(display_class);
  const html = await typeset(element.textContent ?? "", isDisplay);
  if (html === null || state.isOff || !element.isConnected) return;
  const box = document.createElement(isDisplay ? "div" : "span");
  box.className = isDisplay ? "formula formula-display" : "formula";
  box.innerHTML = html;
  element.replaceWith(box);
}

async function colour(code: HTMLElement, state: { isOff: boolean }): Promise<void> {
  const language = code.className.replace("language-", "");
  const html = await highlight(code.textContent ?? "", language);
  if (html !== null && !state.isOff && code.isConnected) code.innerHTML = html;
}
