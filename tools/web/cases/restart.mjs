// The relay goes away in the middle of an answer and comes back: nothing is reloaded, nobody signs in again, nothing typed is lost.
import { expect, until } from "../world.mjs";

export async function restart(report) {
  for (const how of ["SIGTERM", "SIGKILL"]) {
    await report.run(`the relay restarts (${how}) in the middle of a chat, and the page lives on`, async ({ world, open }) => {
      const page = await (await open()).signIn();
      const born = await page.at.evaluate(() => window.watched.born);
      await page.choose("endless");
      await page.send("Go on for ever.");
      await until("some tokens", async () => (await page.answers().count()) > 0 && (await page.said()).length > 120);
      const before = (await page.said()).slice(0, 100);
      await page.composer().fill("typed meanwhile");
      await world.relay.end(how);
      const again = page.answer().getByRole("button", { name: "Begin again" });
      await again.waitFor();
      expect((await page.said()).startsWith(before), "what had come is gone");
      await page.at.getByText("The relay does not answer.").waitFor();
      await world.startRelay();
      await world.connected();
      await page.at.getByText("The relay does not answer.").waitFor({ state: "detached" });
      const { length } = await page.said();
      await page.answer().getByRole("button", { name: "Continue" }).click();
      await until("more of it", async () => (await page.isRunning()) && (await page.said()).length > length);
      await page.role("button", "Stop", { exact: true }).click();
      await page.finished();
      expect((await page.composer().inputValue()) === "typed meanwhile", "what was typed is gone");
      expect((await page.at.evaluate(() => window.watched.born)) === born, "the page was reloaded");
      await page.choose("tiny");
      await page.role("button", "Send", { exact: true }).click();
      await until("another answer", async () => (await page.answers().count()) === 2);
      expect(/\d+ tokens/.test(await page.finished()), await page.said());
    });
  }
}
