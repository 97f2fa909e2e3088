// Machines: told as they are, named, disconnected, away and back; a new one let in.
import { expect, Program, until } from "../world.mjs";

export async function devices(report) {
  await report.run("a machine has a card, gets a name, and comes back when it was disconnected", async ({ world, open }) => {
    const page = await (await open()).signIn();
    await page.view("Devices");
    const card = page.role("article", /desk/);
    await card.getByText("tiny:latest").waitFor();
    await page.role("button", "What to do with desk").click();
    await page.role("menuitem", "Rename").click();
    await page.at.getByLabel("What you call it").fill("Desk <b>upstairs</b>");
    await page.role("button", "Save", { exact: true }).click();
    const named = page.role("article", "Desk <b>upstairs</b>");
    await named.waitFor();
    const session = (text) => text.match(/Requests\s+\d+ now, (\d+) since/)?.[1];
    // More than the page itself asks of a machine that has come back, so that the next connection is told from this one.
    const asked = async () => Number(session(await named.innerText()));
    for (let more = 0; more < 8; more += 1) await world.ask("/api/version");
    const before = await until("its requests counted", async () => ((await asked()) >= 8 ? asked() : null), { seen: () => named.innerText() });
    await page.role("button", "What to do with Desk <b>upstairs</b>").click();
    await page.role("menuitem", "Disconnect").click();
    await page.at.getByRole("dialog").getByRole("button", { name: "Disconnect", exact: true }).click();
    await until("a new connection", async () => {
      const texts = await named.allInnerTexts();
      return texts.length === 1 && Number(session(texts[0])) < before;
    });
    await page.role("button", "What to do with Desk <b>upstairs</b>").click();
    await page.role("menuitem", "Rename").click();
    await page.at.getByLabel("What you call it").fill("");
    await page.role("button", "Save", { exact: true }).click();
    await page.role("article", "desk").waitFor();
  });

  await report.run("a machine goes away and comes back while the page is open", async ({ world, open }) => {
    const page = await (await open()).signIn();
    const chat = await open();
    await chat.signIn();
    await chat.choose("tiny");
    await page.view("Devices");
    await page.role("article", /desk/).waitFor();
    await world.agent.end();
    await page.at.getByRole("heading", { name: "Not connected" }).waitFor();
    await page.at.getByText(/Last seen/).waitFor();
    await chat.send("Anybody there?");
    const problem = chat.answer().getByRole("alert");
    await problem.waitFor();
    expect((await problem.innerText()).startsWith("desk is not connected now. Start c2l agent there, or choose another."), await problem.innerText());
    await world.startAgent();
    await page.role("article", /desk/).waitFor();
    await chat.answer().getByRole("button", { name: /Try again|Begin again/ }).click();
    await chat.finished();
    expect(/\d+ tokens/.test(await chat.said()), await chat.said());
  });

  await report.run("a machine that shows a code is let in, and revoked", async ({ world, open }) => {
    const page = await (await open()).signIn();
    const login = new Program("login", world.binary, ["login", "--relay", world.origin, "--device", "lap", "--data-dir", "lap", "--login-store", "file"], world.folder);
    const [code] = await login.line(/\b[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}\b/);
    await page.goto(`#/devices/confirm?code=${code}`);
    const dialog = page.at.getByRole("dialog");
    await dialog.getByText("lap").first().waitFor();
    await dialog.getByRole("button", { name: /^(Yes|Let it in|Approve|Confirm)/ }).click();
    await login.ended;
    expect(login.child.exitCode === 0, login.output);
    const agent = new Program("lap", world.binary, ["agent", "--device", "lap", "--data-dir", "lap", "--upstream", world.upstream.url], world.folder);
    await page.goto("#/devices");
    await page.role("article", /lap/).waitFor();
    await page.role("button", "What to do with lap").click();
    await page.role("menuitem", "Revoke").click();
    await page.at.getByRole("dialog").getByRole("button", { name: "Revoke", exact: true }).click();
    await page.role("article", /lap/).waitFor({ state: "detached" });
    await agent.ended;
    expect(agent.child.exitCode === 3, `a revoked agent ends with 3, not ${agent.child.exitCode}`);
    Program.running.delete(agent);
    Program.running.delete(login);
  });
}
