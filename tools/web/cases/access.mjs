// Everybody can use every view: axe-core finds no serious fault in light or dark, and a phone's width is enough.
import AxeBuilder from "@axe-core/playwright";
import { expect } from "../world.mjs";

const views = ["Chat", "Devices", "Keys", "Requests"];

/** Each view, with something in it. */
async function each(page, look) {
  await page.goto();
  await page.at.getByLabel("Token", { exact: true }).waitFor();
  await look("sign-in");
  await page.signIn();
  await look("an empty chat");
  await page.choose("lesson");
  await page.send("Why is that so?");
  await page.finished();
  await page.answer().locator("math").first().waitFor();
  await page.answer().getByText("Thoughts").click();
  await look("a conversation");
  await page.role("button", /^Model:/).click();
  await page.role("listbox", "Models").waitFor();
  await look("the models");
  await page.at.keyboard.press("Escape");
  await page.role("button", "Settings of the conversation").click();
  await page.at.getByRole("dialog").waitFor();
  await look("settings");
  await page.at.keyboard.press("Escape");
  await page.at.getByRole("dialog").waitFor({ state: "detached" });
  for (const view of views.slice(1)) {
    await page.view(view);
    await page.at.locator("main .card, main .table, main .empty").first().waitFor();
    await look(view);
  }
  await page.view("Keys");
  await page.role("button", /New key/).click();
  await page.role("dialog", "New key").waitFor();
  await look("a new key");
  await page.at.keyboard.press("Escape");
}

async function faults(page) {
  const found = await new AxeBuilder({ page: page.at }).setLegacyMode(true).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
  const bad = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return bad.map(({ id, help, nodes }) => `${id} (${help}): ${nodes.slice(0, 4).map(({ target, failureSummary }) => `${target} ${failureSummary?.split("\n")[1] ?? ""}`).join(" | ")}`);
}

export async function access(report) {
  for (const dark of [false, true]) {
    await report.run(`axe-core finds no serious fault in any view, ${dark ? "dark" : "light"}`, async ({ open }) => {
      const page = await open({ dark });
      const found = [];
      let looked = 0;
      await each(page, async (what) => {
        looked += 1;
        found.push(...(await faults(page)).map((fault) => `${what}: ${fault}`));
      });
      // What axe puts into the page to look at it is not the page's.
      page.problems = page.problems.filter((problem) => !/axe/i.test(problem));
      expect(found.length === 0, found.join("\n"));
      return `${looked} views`;
    });
  }

  await report.run("at 360 px nothing scrolls sideways, and every view can be used", async ({ open }) => {
    const page = await open({ phone: true });
    await each(page, async (what) => {
      const { wide, width } = await page.at.evaluate(() => ({ wide: Math.max(document.documentElement.scrollWidth, document.body.scrollWidth), width: innerWidth }));
      expect(width === 360 && wide <= width, `${what} is ${wide} px wide`);
      const lost = await page.at.evaluate(() =>
        [...document.querySelectorAll("button, a[href], input, select, textarea")]
          .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(".sidebar, .skip, .visually-hidden, pre, [hidden]"))
          .filter((element) => {
            const { left, right, width } = element.getBoundingClientRect();
            return width > 1 && (left < -1 || right > innerWidth + 1);
          })
          .map((element) => element.getAttribute("aria-label") ?? element.textContent.slice(0, 40)),
      );
      expect(lost.length === 0, `${what}: beyond the edge: ${lost.join(", ")}`);
    });
  });
}
