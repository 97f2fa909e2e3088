// Getting in: by link, by token, not at all; and out again.
import { expect, until } from "../world.mjs";

export async function signin(report) {
  await report.run("sign-in by a link, once, and it leaves no trace in the address", async ({ world, open }) => {
    const page = await open();
    const link = await world.link();
    // Whoever only opens it, as a preview does, has not used it up.
    const preview = await open();
    await preview.at.goto(link);
    const press = preview.role("button", `Sign in to ${new URL(world.origin).host}`, { exact: true });
    await press.waitFor();
    expect((await preview.context.cookies()).length === 0, "a link signs in by being opened");
    await page.follow(link);
    expect(!page.at.url().includes("link="), `the secret is still in the address: ${page.at.url()}`);
    const [cookie] = await page.context.cookies();
    expect(cookie.name === "__Host-c2l" && cookie.httpOnly && cookie.secure && cookie.sameSite === "Strict", JSON.stringify({ ...cookie, value: "" }));
    expect((await page.at.evaluate(() => document.cookie)) === "", "a script sees the cookie");
    const kept = await page.at.evaluate(() => JSON.stringify([localStorage, sessionStorage]));
    expect(!kept.includes(cookie.value) && !kept.includes(link.split("link=")[1]), "a secret is kept where scripts read");

    await press.click();
    await preview.role("alert", "").first().waitFor();
    await preview.at.getByLabel("Token", { exact: true }).waitFor();
    expect((await preview.context.cookies()).length === 0, "a link was good twice");
  });

  await report.run("sign-in by a token; a wrong one is told in words; sign-out ends it at the relay", async ({ world, open }) => {
    const page = await open();
    await page.goto();
    const token = page.at.getByLabel("Token", { exact: true });
    await token.fill("eyJhbGciOiJub25lIn0.e30.");
    await page.role("button", "Sign in", { exact: true }).click();
    await page.at.getByRole("alert").first().waitFor();
    await token.fill(world.token);
    await page.role("button", "Sign in", { exact: true }).click();
    await page.composer().waitFor();
    await page.at.reload();
    await page.composer().waitFor(); // still in

    const [cookie] = await page.context.cookies();
    await page.role("button", /^Account and settings/).click();
    await page.role("menuitem", "Sign out", { exact: true }).click();
    await page.at.getByLabel("Token", { exact: true }).waitFor();
    expect((await page.context.cookies()).length === 0, "the cookie is still there");
    const headers = { cookie: `${cookie.name}=${cookie.value}`, "x-c2l-web": "1", "sec-fetch-site": "same-origin" };
    const answer = await fetch(`${world.origin}/web/v1/account/keys`, { headers });
    expect(answer.status === 401, `the relay still takes a cookie that was signed out: ${answer.status}`);
  });

  await report.run("a sign-in that ends in the middle of work loses no draft", async ({ world, open }) => {
    const page = await (await open()).signIn();
    await page.choose("tiny");
    await page.composer().fill("a draft that must not be lost");
    const [cookie] = await page.context.cookies();
    const headers = { cookie: `${cookie.name}=${cookie.value}`, "x-c2l-web": "1", "sec-fetch-site": "same-origin" };
    const out = await fetch(`${world.origin}/web/v1/session`, { method: "DELETE", headers });
    expect(out.status === 204, `signed out elsewhere: ${out.status}`);
    await page.role("button", "Send", { exact: true }).click();
    const dialog = page.role("dialog", "Sign in again");
    await dialog.waitFor();
    await dialog.getByLabel("Token", { exact: true }).fill(world.token);
    await dialog.getByRole("button", { name: "Sign in", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
    const text = await until("the draft, or its answer", async () => {
      const draft = await page.composer().inputValue();
      const asked = await page.role("article", "You").allInnerTexts();
      return [draft, ...asked].find((each) => each.includes("a draft that must not be lost"));
    });
    expect(text, "the draft is gone");
    if (await page.answers().count()) await page.finished();
  });

  await report.run("two tabs are one browser: who signs out or in as another in one does in both, and each finds their own", async ({ world, open }) => {
    const page = await (await open()).signIn();
    await page.composer().fill("what the owner wrote");
    const born = () => page.at.evaluate(() => window.watched.born);
    const first = await born();
    const other = await open({ beside: page });
    await other.goto();
    await other.composer().waitFor();
    const out = async () => {
      await other.role("button", /^Account and settings/).click();
      await other.role("menuitem", "Sign out", { exact: true }).click();
      await other.at.getByLabel("Token", { exact: true }).waitFor();
    };
    await out();
    await page.at.getByLabel("Token", { exact: true }).waitFor(); // nothing was asked in this one
    expect((await page.composer().count()) === 0, "what somebody wrote who has signed out");
    expect((await born()) === first, "a sign-out has thrown the page away");

    await other.follow(await world.link("eve"));
    await page.role("button", "Account and settings of eve").waitFor();
    expect((await born()) !== first, "the page of one user has become another's");
    expect((await page.composer().inputValue()) === "", "a draft of another user");
    await out();
    await page.at.getByLabel("Token", { exact: true }).waitFor();
    await other.follow(await world.link());
    await page.role("button", "Account and settings of owner").waitFor();
    await until("the owner's draft", async () => (await page.composer().inputValue()) === "what the owner wrote");
  });
}
