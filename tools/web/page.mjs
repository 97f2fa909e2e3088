// The page as a person meets it: by roles and names, in a browser context of its own; and a watch over what must never happen in it.
import { chromium } from "playwright-core";
import { expect, until } from "./world.mjs";

export async function launch(executablePath) {
  // Without a user of its own, as on CI, Chromium has no sandbox to build.
  const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath, args: [...args, "--font-render-hinting=none", "--force-color-profile=srgb"] });
}

/** The tabs that a case has opened. */
const opened = new WeakSet();

/** One browser window of somebody. */
export class Page {
  /** With `beside`, another tab in the browser of that page, which keeps one cookie for both. */
  static async open(world, browser, { dark = false, phone = false, beside = null } = {}) {
    const context = beside?.context ?? await browser.newContext({
      viewport: phone ? { width: 360, height: 740 } : { width: 1280, height: 800 },
      colorScheme: dark ? "dark" : "light",
      reducedMotion: "reduce",
      locale: "en-GB",
      timezoneId: "UTC",
      permissions: ["clipboard-read", "clipboard-write"],
    });
    const page = new Page();
    Object.assign(page, { world, context, isPhone: phone, problems: [], told: [], windows: [] });
    if (!beside) await context.addInitScript(watchInside);
    page.at = await context.newPage();
    opened.add(page.at);
    page.at.setDefaultTimeout(20_000);
    page.watch();
    return page;
  }

  /** Writes down scripts that ran, dialogs, other origins, violations of the policy, errors of our own script. */
  watch() {
    const { at, context, problems } = this;
    const own = this.world.origin;
    at.on("dialog", (dialog) => {
      problems.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    at.on("pageerror", (error) => problems.push(`an error: ${error.stack ?? error}`));
    at.on("console", (message) => {
      const text = message.text();
      this.told.push(`${message.type()}: ${text}`);
      if (/Content Security Policy|Trusted ?Type|violates/i.test(text)) problems.push(`the policy was needed: ${text}`);
    });
    context.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(`${own}/`) && !/^(data|blob):/.test(url)) problems.push(`a request to ${url}`);
    });
    context.on("page", (other) => this.windows.push(other));
  }

  async mustBeQuiet() {
    const { ran, violations } = await this.at.evaluate(() => ({ ran: window.watched.ran, violations: window.watched.violations }));
    const foreign = this.windows.filter((each) => !opened.has(each)).map((each) => `another window: ${each.url()}`);
    const all = [...this.problems, ...foreign, ...ran.map((what) => `script ran: ${what}`), ...violations.map((what) => `the policy was needed: ${what}`)];
    expect(all.length === 0, all.join("\n"));
  }

  async close() {
    await this.context.close();
  }

  role(role, name, options = {}) {
    return this.at.getByRole(role, { name, ...options });
  }

  // Signing in, and the views.

  async goto(hash = "") {
    await this.at.goto(`${this.world.origin}/${hash}`);
  }

  async signIn() {
    await this.goto();
    await this.at.getByLabel("Token", { exact: true }).fill(this.world.token);
    await this.role("button", "Sign in", { exact: true }).click();
    await this.composer().waitFor();
    return this;
  }

  /** Signs in with a one-time link. */
  async follow(link) {
    await this.at.goto(link);
    await this.role("button", /^Sign in to /).click();
    await this.composer().waitFor();
  }

  async view(name) {
    if (this.isPhone) await this.role("button", "Menu", { exact: true }).click();
    await this.at.getByRole("navigation", { name: "Views" }).getByRole("link", { name }).click();
    await this.at.getByRole("heading", { level: 1, name }).waitFor({ state: name === "Chat" ? "attached" : "visible" });
  }

  // The chat.

  composer() {
    return this.role("textbox", "Message", { exact: true });
  }

  async choose(model) {
    const button = this.role("button", /^Model:/);
    if ((await button.textContent()).includes(model)) return;
    await button.click();
    await this.role("option", new RegExp(`^${model}`)).click();
    await until(`choice of ${model}`, async () => (await button.textContent()).includes(model));
  }

  /** Asks, and waits until the question is shown: what is looked at then is its answer, and none from before. */
  async send(text) {
    const questions = this.role("article", "You", { exact: true });
    const before = await questions.count();
    await this.composer().fill(text);
    await this.role("button", "Send", { exact: true }).click();
    await until("the question", async () => (await questions.count()) > before);
  }

  answers() {
    return this.role("article", /^Answer/);
  }

  /** The last answer. */
  answer() {
    return this.answers().last();
  }

  async isRunning() {
    return (await this.answer().getAttribute("aria-busy")) === "true";
  }

  /** The text of the last answer, once it is whole. */
  async finished() {
    await this.at.locator("article[aria-busy=false][aria-label^=Answer], article[aria-label^=Answer]:not([aria-busy])").last().waitFor();
    await until("end of the answer", async () => !(await this.isRunning()));
    return this.said();
  }

  /** What the last answer says so far. */
  async said() {
    return this.answer().innerText();
  }

  /** Waits until the browser keeps a conversation with these words in it whose answer has ended. */
  async kept(words) {
    const find = async (words) => {
      for (const { name } of await indexedDB.databases()) {
        const asked = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
        const database = await asked(indexedDB.open(name));
        for (const store of database.objectStoreNames) {
          const all = await asked(database.transaction(store).objectStore(store).getAll());
          if (all.some((value) => JSON.stringify(value).includes(words) && JSON.stringify(value).includes('"phase":"done"'))) return true;
        }
        database.close();
      }
      return false;
    };
    await until(`“${words}” in the browser's own store`, () => this.at.evaluate(find, words));
  }

  async newConversation() {
    await this.role("button", "New conversation", { exact: true }).click();
    await this.at.getByRole("heading", { name: "What would you like to ask?" }).waitFor();
  }

  /** How long the last answer was whenever it changed, from now on. */
  async watchGrowth() {
    await this.at.evaluate(() => {
      window.watched.lengths = [];
      const look = () => {
        const last = [...document.querySelectorAll("article[aria-label^=Answer]")].at(-1);
        const length = last?.textContent.length ?? 0;
        if (window.watched.lengths.at(-1) !== length) window.watched.lengths.push(length);
      };
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
  }

  async growth() {
    return this.at.evaluate(() => window.watched.lengths);
  }
}

/** Runs in the page before anything of its own. */
function watchInside() {
  const watched = { ran: [], violations: [], lengths: [], born: Math.random() };
  Object.defineProperty(window, "watched", { value: watched });
  window.pwn = (what) => watched.ran.push(String(what));
  document.addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI, sample }) => watched.violations.push(`${effectiveDirective} ${blockedURI} ${sample}`));
}
