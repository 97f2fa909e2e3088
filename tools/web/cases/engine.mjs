// Talking to a real model on a real server that is not Ollama.
import { Engine } from "../engine.mjs";
import { expect, until } from "../world.mjs";

export async function engine(report, values) {
  const withEngine = (name, make, work) => async (at) => {
    const missing = Engine.missing(values);
    if (missing) return { skipped: missing };
    const engine = await Engine.start(at.world, values, name, ...make);
    try {
      return await work({ ...at, engine });
    } finally {
      await engine.end();
    }
  };

  const answered = async ({ open }) => {
    const page = await (await open()).signIn();
    await page.choose("bigram");
    await page.send("What does the relay do?");
    const said = await page.finished();
    const cost = said.match(/[\d.]+ tokens\/s · [1-9]\d* tokens/)?.[0];
    expect(cost, `no cost under the answer: ${said}`);
    await page.send("And the agent?");
    await page.finished();
    expect((await page.answers().count()) === 2, "no second answer");

    await page.view("Devices");
    await page.at.getByText("bigram").first().waitFor();
    await page.view("Requests");
    const row = page.at.getByRole("row").filter({ hasText: "/v1/chat/completions" }).first();
    await row.waitFor();
    const told = await row.innerText();
    expect(told.includes("bigram") && told.includes("rack"), told);
    return cost;
  };
  await report.run("llama.cpp, which speaks OpenAI's API alone: a real answer, and what it cost", withEngine("bigram", ["--layers", "8"], answered));

  const stopped = async ({ open, engine }) => {
    const page = await (await open()).signIn();
    await page.choose("endless-bigram");
    await page.watchGrowth();
    await page.send("Go on for ever.");
    await until("tokens as they come", async () => new Set(await page.growth()).size > 12);
    expect(await engine.isBusy(), "the engine makes no answer");
    await page.role("button", "Stop", { exact: true }).click();
    await until("idle engine", async () => !(await engine.isBusy()));
    const said = await page.finished();
    expect(/Stopped\./.test(said), said);
  };
  await report.run("what llama.cpp says is shown as it comes, and stop frees its slot", withEngine("endless-bigram", ["--layers", "32", "--no-eos"], stopped));
}
