// A key for a program: made in the page, used by a real client, taken back.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { expect, until } from "../world.mjs";

const program = `
import ollama
parts = [part.message.content for part in ollama.chat("tiny", [{"role": "user", "content": "hello"}], stream=True)]
print(len(parts), "".join(parts))
`;

export async function keys(report, { clients }) {
  await report.run("a key is made, used by ollama-python as its line says, revoked and refused", async ({ world, open }) => {
    const python = `${clients}/venv/bin/python`;
    const has = existsSync(python);
    const page = await (await open()).signIn();
    await page.view("Keys");
    await page.role("button", /New key/).click();
    const form = page.role("dialog", "New key");
    await form.getByLabel("Name").fill("a script");
    await form.getByRole("button", { name: "Create key" }).click();
    const shown = page.role("dialog", "The key a script");
    const key = (await shown.getByRole("region", { name: "the key" }).innerText()).trim();
    expect(/^c2l_[0-9A-Za-z]{40}$/.test(key), "no key is shown");
    const lines = await shown.innerText();
    const host = lines.match(/OLLAMA_HOST=["']?(\S+?)["']?(\s|$)/)?.[1];
    expect(host === `${world.origin}/k/${key}`, `OLLAMA_HOST is ${host?.replace(key, "KEY")}`);
    const snippets = {};
    for (const tab of await shown.getByRole("tab").all()) {
      await tab.click();
      snippets[await tab.innerText()] = await shown.innerText();
    }
    for (const [name, text] of Object.entries(snippets)) expect(text.includes(key) || text.includes("OLLAMA_HOST"), `the lines for ${name} hold nothing`);
    expect(Object.keys(snippets).length >= 6, `lines for ${Object.keys(snippets)}`);
    const addresses = await page.at.evaluate(() => [...document.querySelectorAll("a[href]")].map((link) => link.href));
    expect(!addresses.some((address) => address.includes(key)), "a key in a link"); // WEB-08

    const run = async () => {
      if (has) return promisify(execFile)(python, ["-c", program], { env: { PATH: process.env.PATH, OLLAMA_HOST: host } }).then(({ stdout }) => stdout, (error) => error.stderr);
      const answer = await fetch(`${host}/api/chat`, { method: "POST", body: JSON.stringify({ model: "tiny", messages: [{ role: "user", content: "hello" }] }) });
      return answer.ok ? `${(await answer.text()).split("\n").length} lines` : `${answer.status}`;
    };
    const said = await run();
    expect(Number.parseInt(said, 10) > 5, `the client says: ${said}`);
    await shown.getByRole("button", { name: "I have kept it" }).click();
    await shown.waitFor({ state: "detached" });
    const html = await page.at.content();
    expect(!html.includes(key), "the key is still in the page");

    await page.role("button", "What to do with a script").click();
    await page.role("menuitem", "Revoke").click();
    const confirm = page.role("dialog", "Revoke a script?");
    await confirm.getByRole("button", { name: "Revoke", exact: true }).click();
    await confirm.waitFor({ state: "detached" });
    await until("the key gone from the list", async () => !(await page.at.getByRole("main").innerText()).includes("a script"));
    const refused = await run();
    expect(/401|revoked/.test(refused), `after it was revoked: ${refused}`);
    return has ? "ollama-python" : "fetch; ollama-python is not installed (tools/clients/run does)";
  });
}
