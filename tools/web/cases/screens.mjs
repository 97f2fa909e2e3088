// The pictures of the README: of a fixed size, with fixed content.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

export async function screens(report, { screenshots }) {
  await mkdir(screenshots, { recursive: true });
  for (const phone of [false, true]) {
    for (const dark of [false, true]) {
      const name = `${phone ? "phone" : "desktop"}-${dark ? "dark" : "light"}`;
      await report.run(`pictures: ${name}`, async ({ open }) => {
        const page = await open({ dark, phone });
        const shoot = async (view) => page.at.screenshot({ path: join(screenshots, `${view}-${name}.png`), animations: "disabled", caret: "hide" });
        await page.signIn();
        await page.choose("lesson");
        await page.send("What is the sum of the first n numbers, and why?");
        await page.finished();
        await page.answer().locator("math").first().waitFor();
        await page.answer().locator("pre .hljs-keyword").first().waitFor();
        await page.at.getByRole("region", { name: "Conversation", exact: true }).evaluate((thread) => (thread.scrollTop = 0));
        await shoot("chat");
        if (phone) return;
        await page.view("Devices");
        await page.role("article", /desk/).getByText("tiny:latest").waitFor();
        await shoot("devices");
        await page.view("Requests");
        await page.at.getByRole("row").filter({ hasText: "/api/chat" }).first().waitFor();
        await shoot("requests");
      });
    }
  }
}
