// WEB-03: a model's output cannot run script, load anything, or leave its box, whole or while it grows.
import { payloads } from "../payloads.mjs";
import { expect } from "../world.mjs";

const batch = 6; // few enough that one payload's unclosed element cannot hide all others

export async function hostile(report) {
  await report.run(`web_03 ${payloads.length} hostile answers run nothing, load nothing and stay in their box`, async ({ open }) => {
    const page = await (await open()).signIn();
    await page.choose("hostile");
    for (let from = 0; from < payloads.length; from += batch) {
      const to = Math.min(from + batch, payloads.length);
      await page.newConversation();
      await page.send(`payloads ${from} to ${to}`);
      await page.finished();
      await page.answer().locator("details.fold").first().evaluate((fold) => (fold.open = true));
      await touch(page);
      const faults = await page.at.evaluate(inspect);
      expect(faults.length === 0, `payloads ${from} to ${to}: ${faults.join("; ")}`);
      await page.mustBeQuiet();
    }
    await page.kept(`payloads ${payloads.length - (payloads.length % batch || batch)} to ${payloads.length}`);
    // Kept in the browser as they came, they are as harmless after a reload.
    await page.at.reload();
    await page.answers().last().waitFor();
    const faults = await page.at.evaluate(inspect);
    expect(faults.length === 0, faults.join("; "));
  });

  await report.run("web_03 each hostile answer alone", async ({ open }) => {
    const page = await (await open()).signIn();
    await page.choose("hostile");
    for (let from = 0; from < payloads.length; from += 1) {
      await page.newConversation();
      await page.send(`payloads ${from} to ${from + 1}`);
      await page.finished();
      const faults = await page.at.evaluate(inspect);
      expect(faults.length === 0, `${payloads[from].slice(0, 200)}: ${faults.join("; ")}`);
    }
  });

  await report.run("web_03 what a person writes and what a tool call says is text", async ({ open }) => {
    const page = await (await open()).signIn();
    await page.choose("caller");
    await page.send("<img src=x onerror=pwn('own')> <script>pwn('own')</script>");
    await page.finished();
    await page.answer().getByText("Wants to call").click();
    const faults = await page.at.evaluate(inspect);
    expect(faults.length === 0, faults.join("; "));
    expect((await page.role("article", "You").innerText()).includes("<img src=x onerror"), "it is shown as it was written");
  });
}

/** What a person would do with it: move over it, and press what looks like a link. */
async function touch(page) {
  const box = await page.answer().boundingBox();
  await page.at.mouse.move(box.x + 20, Math.min(Math.max(box.y, 60) + 20, 700));
  const links = page.answer().getByText("click me");
  for (let at = 0; at < (await links.count()); at += 1) {
    const link = links.nth(at);
    const leads = await link.evaluate((element) => element.closest("a[href]")?.href ?? "");
    expect(/^(https?:|mailto:|$)/.test(leads), `a link leads to ${leads}`);
    if (leads === "") await link.click({ force: true, noWaitAfter: true });
  }
}

/** Runs in the page: what is in an answer that must not be there. */
function inspect() {
  const faults = [];
  const passive = new Set(
    ("A BLOCKQUOTE BR BUTTON CODE DEL DETAILS DIV EM FIGURE FIGCAPTION H1 H2 H3 H4 H5 H6 HR LI OL P PATH PRE SMALL SPAN STRONG SUB SUMMARY SUP SVG " +
      "TABLE TBODY TD TH THEAD TR UL INPUT").split(" "),
  );
  const mathml = "http://www.w3.org/1998/Math/MathML";
  for (const article of document.querySelectorAll("article")) {
    const box = article.getBoundingClientRect();
    for (const element of article.querySelectorAll("*")) {
      const name = element.tagName.toUpperCase();
      if (!passive.has(name) && element.namespaceURI !== mathml) faults.push(`an element ${name}`);
      if (name === "INPUT" && !(element.type === "checkbox" && element.disabled)) faults.push("a field");
      if (name === "PATH" || name === "SVG" || name === "BUTTON") continue; // the page's own icons and buttons
      for (const { name: attribute, value } of element.attributes) {
        if (/^on/i.test(attribute)) faults.push(`${name} ${attribute}`);
        if (["src", "srcset", "action", "formaction", "poster", "background", "data", "style", "popover"].includes(attribute)) faults.push(`${name} ${attribute}=${value.slice(0, 40)}`);
        if (/href$/.test(attribute) && !/^(https?:|mailto:|#)/.test(value)) faults.push(`${name} ${attribute}=${value.slice(0, 40)}`);
        if (attribute === "id" && value in { main: 1, sidebar: 1, search: 1, message: 1 }) faults.push(`${name} takes the id ${value}`);
      }
      if (name === "A" && element.hasAttribute("href") && !/noopener/.test(element.rel)) faults.push("a link without noopener");
      const style = getComputedStyle(element);
      if (["fixed", "absolute", "sticky"].includes(style.position) && !element.closest(".visually-hidden, .code-head, .message-tools")) faults.push(`${name} is ${style.position}`);
    }
    // What is beyond the box must be clipped there, or scrolled within it; the page's own buttons may stand at its edge.
    const clips = (element) => {
      const { overflowX, contain } = getComputedStyle(element);
      return /auto|scroll|hidden|clip/.test(overflowX) || /paint|content|strict/.test(contain);
    };
    const isClipped = (element) => {
      for (let up = element.parentElement; up && article.contains(up); up = up.parentElement) if (clips(up)) return true;
      return false;
    };
    for (const element of article.querySelectorAll("*")) {
      const { left, right, width, height } = element.getBoundingClientRect();
      const isBeyond = width > 0 && height > 0 && (right > box.right + 1 || left < box.left - 1);
      if (isBeyond && !element.closest(".message-tools, .visually-hidden") && !isClipped(element)) faults.push(`${element.tagName} .${element.className} is beyond its box`);
    }
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  // The page is still there and in front: what a person presses is what they see.
  for (const control of [document.getElementById("message"), document.querySelector("nav[aria-label=Views] a"), document.querySelector("button[aria-label='New conversation']")]) {
    const { left, top, width, height } = control.getBoundingClientRect();
    const front = document.elementFromPoint(left + width / 2, top + height / 2);
    if (!control.contains(front)) faults.push(`${front?.tagName} lies over ${control.id || control.textContent || control.ariaLabel}`);
  }
  if (typeof document.getElementById !== "function" || String(window.location) !== document.URL) faults.push("the document is clobbered");
  if (document.title.length > 300) faults.push("a title without end");
  return [...new Set(faults)];
}
