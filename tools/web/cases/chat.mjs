// Talking to a model: token by token, stopped, again, by keyboard alone, and while it loads.
import { expect, until } from "../world.mjs";

export async function chat(report) {
  await report.run("an answer is shown token by token, with what it cost", async ({ open }) => {
    const page = await (await open()).signIn();
    await page.choose("steady");
    await page.watchGrowth();
    await page.send("Tell me something.");
    const said = await page.finished();
    const lengths = [...new Set(await page.growth())].filter((length) => length > 0);
    expect(lengths.length >= 36, `of 120 tokens the page showed ${lengths.length} states: ${lengths}`);
    expect(/\d+ tokens/.test(said) && /tokens\/s/.test(said), `no cost under the answer: ${said}`);
    return `${lengths.length} states of 120 tokens`;
  });

  await report.run("stop stops the engine", async ({ world, open }) => {
    const page = await (await open()).signIn();
    await page.choose("endless");
    const before = (await world.counters()).generations_stopped;
    await page.send("Go on for ever.");
    await until("some tokens", async () => (await page.answers().count()) > 0 && (await page.said()).length > 120);
    await page.role("button", "Stop", { exact: true }).click();
    await until("stopped generation", async () => (await world.counters()).generations_stopped === before + 1, { seen: async () => JSON.stringify(await world.counters()) });
    const said = await page.finished();
    expect(/Stopped\./.test(said), said);
    expect((await world.counters()).requests_active === 0, "something still runs at the engine");
    // What was said stays, and the next message goes on from it.
    await page.choose("tiny");
    await page.send("And now?");
    await page.finished();
    expect((await page.answers().count()) === 2, "the stopped answer is gone");
  });

  await report.run("answer again, edit and send again: each version stays", async ({ open }) => {
    const page = await (await open()).signIn();
    await page.choose("tiny");
    await page.send("First wording");
    await page.finished();
    await page.role("button", "Answer again").click();
    await page.finished();
    await page.at.getByLabel("Version 2 of 2").waitFor();
    await page.role("button", "Edit and send again").click();
    await page.role("textbox", "Edit the message").fill("Second wording");
    await page.at.locator(".editor").getByRole("button", { name: "Send" }).click();
    await page.finished();
    expect((await page.role("article", "You").innerText()).includes("Second wording"), "the new wording is not shown");
    await page.role("button", "The version before").first().click();
    await until("the first wording", async () => (await page.role("article", "You").innerText()).includes("First wording"));
    // And all of it is there after a reload: it is kept in the browser.
    await page.at.reload();
    await page.role("article", "You").getByLabel(/Version \d of 2/).waitFor();
  });

  await report.run("a whole chat with the keyboard alone", async ({ open }) => {
    const page = await open();
    const { keyboard } = page.at;
    await page.goto();
    await page.at.getByLabel("Token", { exact: true }).waitFor();
    const focused = () => page.at.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? "");
    const tabTo = async (what, isThere) => {
      for (let step = 0; step < 40; step += 1) {
        if (await isThere()) return;
        await keyboard.press("Tab");
      }
      throw new Error(`40 times Tab do not reach ${what}; now at ${await focused()}`);
    };
    await tabTo("the token", () => page.at.evaluate(() => document.activeElement?.matches("input[type=password]")));
    await keyboard.insertText(page.world.token);
    await keyboard.press("Enter");
    await page.composer().waitFor();
    await tabTo("the model", async () => (await focused()).startsWith("Model:"));
    await keyboard.press("Enter");
    await keyboard.type("steady"); // at once: what opens takes the next key
    await page.role("option", /^tiny/).waitFor({ state: "detached" }); // what is left is what was typed
    await page.role("option", /^steady/).waitFor();
    await keyboard.press("Enter");
    await until("the choice", async () => (await page.role("button", /^Model:/).textContent()).includes("steady"));
    await keyboard.press("/");
    await until("the message's field", async () => (await focused()) === "Message");
    await keyboard.type("Hello");
    await keyboard.press("Shift+Enter");
    await keyboard.type("there");
    await keyboard.press("Enter");
    await until("an answer", async () => (await page.answers().count()) === 1 && (await page.said()).length > 60);
    await keyboard.press("Escape");
    expect(/Stopped\./.test(await page.finished()), "Esc stops");
    await tabTo("Continue", () => page.at.evaluate(() => document.activeElement?.matches("button") && document.activeElement.textContent === "Continue"));
    await keyboard.press("Enter");
    // Stopped, it has no cost yet; that it runs in between may be over before it is seen.
    await until("the rest of it", async () => !(await page.isRunning()) && /\d+ tokens/.test(await page.said()), { seen: () => page.said() });
    await keyboard.press("Control+Shift+O");
    await page.at.getByRole("heading", { name: "What would you like to ask?" }).waitFor();
    await until("the new message's field", async () => (await focused()) === "Message");
    await keyboard.press("Control+k");
    await until("the search", async () => (await focused()) === "Search conversations");
    await keyboard.type("hello");
    await tabTo("the conversation", () => page.at.evaluate(() => document.activeElement?.matches(".conversation-item a")));
    await keyboard.press("Enter");
    await page.answers().last().waitFor();
  });

  await report.run("a model that takes longer to load than the relay waits: a 504 becomes an offer that works", async ({ world, open }) => {
    const page = await (await open()).signIn();
    await page.choose("loading");
    await page.send("Are you there?");
    await page.at.getByText(/Loading loading:latest on desk … \d+ s/).waitFor();
    const offer = page.answer().getByRole("button", { name: "Try again" });
    await offer.waitFor();
    expect(/still loading|is loaded now/.test(await page.said()), await page.said());
    await until("the end of the load", async () => (await world.counters()).loads_finished === 1);
    await offer.click();
    await page.finished();
    const { loads_started, loads_aborted } = await world.counters();
    expect(loads_started === 1 && loads_aborted === 0, "the load was thrown away");
    expect(/\d+ tokens/.test(await page.said()), await page.said());
  });

  await report.run("a model that breaks off says so, and what it said stays", async ({ open }) => {
    const page = await (await open()).signIn();
    await page.choose("broken");
    await page.send("Break.");
    await page.answer().getByRole("button", { name: "Begin again" }).waitFor();
    expect((await page.said()).length > 60, "what it said is gone");
  });

  await report.run("formulas, code, tables, thoughts and tool calls are shown", async ({ open }) => {
    const page = await (await open()).signIn();
    await page.choose("lesson");
    await page.send("Why is that so?");
    await page.finished();
    const answer = page.answer();
    await answer.locator("math").first().waitFor();
    await answer.getByRole("table").waitFor();
    await answer.locator("pre .hljs-keyword").first().waitFor();
    await answer.getByRole("button", { name: /Copy code/ }).click();
    // No script may read the clipboard here; a person pastes.
    await page.composer().focus();
    const copied = await until("something to paste", async () => {
      await page.at.keyboard.press("Control+v");
      return (await page.composer().inputValue()) || null;
    });
    expect(copied.startsWith("def triangle"), `copied: ${copied}`);
    await page.composer().fill("");
    const thoughts = answer.getByText("The user wants the sum");
    expect(!(await thoughts.isVisible()), "thoughts are folded");
    await answer.getByText("Thoughts").click();
    await thoughts.waitFor();
    await page.newConversation();
    await page.choose("caller");
    await page.send("Weather?");
    await page.finished();
    await page.answer().getByText("get_weather").waitFor();
  });
}
