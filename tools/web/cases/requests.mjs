// The table of recent requests: live, with what went wrong, and nothing of what was said.
import { expect, until } from "../world.mjs";

export async function requests(report) {
  await report.run("recent requests appear while they run, and end there", async ({ world, open }) => {
    const page = await (await open()).signIn();
    const key = await world.c2l("key", "create", "prober", "--json").then((text) => JSON.parse(text));
    await page.view("Requests");
    await page.at.getByLabel("Find").fill(`key:${key.id}`);
    const main = page.at.getByRole("main");
    const stop = new AbortController();
    const body = JSON.stringify({ model: "endless:latest", messages: [{ role: "user", content: "a word that is nobody's affair" }] });
    const answer = await fetch(`${world.origin}/k/${key.key}/api/chat`, { method: "POST", body, signal: stop.signal });
    const reader = answer.body.getReader();
    await reader.read();
    const row = page.at.getByRole("row").filter({ hasText: "/api/chat" }).first();
    await row.waitFor();
    await row.getByRole("button", { name: /^Details/ }).click();
    const details = page.role("dialog", "Request");
    await details.getByText("Runs for").waitFor();
    const pieces = async () => Number((await details.innerText()).match(/Pieces\s+(\d+)/)?.[1] ?? 0);
    const before = await pieces();
    await until("more pieces", async () => (await pieces()) > before + 5);
    const text = await details.innerText();
    expect(text.includes(`key:${key.id}`) && text.includes("desk"), text);
    expect((await row.innerText()).includes("endless:latest"), "its model is not in the table");
    stop.abort();
    await details.getByText(/Took/).waitFor();
    await details.getByText(/Whoever asked left/).waitFor();
    await details.getByRole("button", { name: "Close", exact: true }).last().click();
    const shown = await main.innerText();
    expect(!shown.includes("nobody's affair") && !shown.includes(key.key), "a body or a key is in the table");
    await world.c2l("key", "revoke", key.id);

    await page.at.getByLabel("Find").fill("");
    const refused = await fetch(`${world.origin}/api/pull`, { method: "POST", body: "{}", headers: { authorization: `Bearer ${world.token}` } });
    expect(refused.status === 403, `pull: ${refused.status}`);
    await page.at.getByLabel("Only failures").check();
    await page.at.getByRole("row").filter({ hasText: "/api/pull" }).first().waitFor();
    await page.at.getByLabel("Find").fill("no such thing");
    await until("nothing", async () => (await page.at.getByRole("row").count()) === 0);
  });
}
