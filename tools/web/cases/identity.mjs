// Signing in at an identity provider, by the code flow.
import { Identity } from "../identity.mjs";
import { Page } from "../page.mjs";
import { expect } from "../world.mjs";

export async function identity(report, values) {
  /** Runs with a relay and a provider of its own; a page's way to that provider is no request to a stranger. */
  const withProvider = (work) => async ({ world }) => {
    const own = await Identity.start(world, values);
    const pages = [];
    const open = async () => {
      const page = await Page.open(own.world, report.browser);
      pages.push(page);
      return page;
    };
    try {
      await work({ own, open });
      for (const page of pages) {
        page.problems = page.problems.filter((problem) => !problem.startsWith(`a request to ${own.issuer}/authorize?`));
        await page.mustBeQuiet();
      }
    } finally {
      for (const page of pages) await page.close();
      await own.end();
    }
  };

  const inAndOut = async ({ own, open }) => {
    const page = await open();
    await page.goto();
    await page.at.getByRole("link", { name: "Continue with Home" }).click();
    await page.composer().waitFor();
    expect(!/code=|state=/.test(page.at.url()), `the address keeps ${page.at.url()}`);
    const cookies = await page.context.cookies(own.world.origin);
    expect(cookies.map(({ name }) => name).join() === "__Host-c2l" && cookies[0].httpOnly, JSON.stringify(cookies.map(({ name }) => name)));
    await page.at.reload();
    await page.role("button", "Account and settings of johndoe").click();
    await page.role("menuitem", "Sign out", { exact: true }).click();
    await page.at.getByRole("link", { name: "Continue with Home" }).waitFor();
    expect((await page.context.cookies(own.world.origin)).length === 0, "the cookie is still there");
    const headers = { cookie: `__Host-c2l=${cookies[0].value}`, "x-c2l-web": "1", "sec-fetch-site": "same-origin" };
    const answer = await fetch(`${own.world.origin}/web/v1/account/keys`, { headers });
    expect(answer.status === 401, `the relay still takes a cookie that was signed out: ${answer.status}`);
  };
  await report.run("sign-in at an identity provider, and sign-out", withProvider(inAndOut));

  const refused = async ({ own, open }) => {
    const told = async (page) => {
      await page.at.getByText("This sign-in took too long, or was begun in another browser.").waitFor();
      expect(!page.at.url().includes("code="), `the code is still in the address: ${page.at.url()}`);
      const names = (await page.context.cookies(own.world.origin)).map(({ name }) => name);
      expect(!names.includes("__Host-c2l"), "signed in");
    };
    // One that another browser was sent for, which is what somebody would be led to who should sign in as another.
    const page = await open();
    await page.at.goto((await own.back(await own.leave())).href);
    await told(page);
    // In the browser that was sent, with another state.
    const leave = async () => {
      const answer = page.at.waitForResponse((each) => each.url().endsWith("/web/v1/signin/0"));
      await page.at.evaluate(() => fetch("/web/v1/signin/0", { redirect: "manual" }).then(() => null));
      return own.back(await (await answer).headerValue("location"));
    };
    const wrong = await leave();
    const state = wrong.searchParams.get("state");
    wrong.searchParams.set("state", state.slice(0, -2) + (state.endsWith("AA") ? "BB" : "AA"));
    await page.at.goto(wrong.href);
    await told(page);
    // And with its own.
    await page.at.goto((await leave()).href);
    await page.composer().waitFor();
  };
  await report.run("what comes back from a provider with a wrong state signs nobody in", withProvider(refused));
}
