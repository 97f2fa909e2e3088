// One line a case, what went wrong below it, and a picture of the page at that moment.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Page } from "./page.mjs";
import { Program } from "./world.mjs";

export class Report {
  constructor({ world, browser, only, pictures }) {
    Object.assign(this, { world, browser, only, pictures, passed: 0, failed: [], skipped: [] });
  }

  /** Runs one case with pages of its own; nothing is tried again. */
  async run(name, work) {
    if (this.only.length > 0 && !this.only.some((words) => name.includes(words))) return;
    const pages = [];
    const open = async (options) => {
      const page = await Page.open(this.world, this.browser, options);
      pages.push(page);
      return page;
    };
    const began = Date.now();
    const from = new Map([...Program.running].map((program) => [program, program.output.length]));
    const seconds = () => `${((Date.now() - began) / 1000).toFixed(1)} s`;
    try {
      const why = await work({ world: this.world, open });
      for (const page of pages) await page.mustBeQuiet();
      if (why?.skipped) {
        this.skipped.push(name);
        console.log(`skipped  ${name}: ${why.skipped}`);
      } else {
        this.passed += 1;
        console.log(`ok       ${name} (${seconds()})${why ? `: ${why}` : ""}`);
      }
    } catch (error) {
      this.failed.push(name);
      console.log(`FAILED   ${name} (${seconds()})\n${String(error.stack ?? error).split("\n").filter((line) => !line.includes("report.mjs")).slice(0, 14).join("\n")}`);
      await this.show(name, pages, from);
    } finally {
      for (const page of pages) await page.close();
      await this.world.mend();
    }
  }

  async show(name, pages, from) {
    await mkdir(this.pictures, { recursive: true });
    for (const [number, page] of pages.entries()) {
      const file = join(this.pictures, `${name.replace(/[^\w]+/g, "-")}-${number}.png`);
      await page.at.screenshot({ path: file }).then(() => console.log(`         picture: ${file}`), () => {});
      console.log([...page.problems, ...page.told.slice(-12)].map((line) => `         ${line.slice(0, 600)}`).join("\n"));
    }
    for (const program of Program.running) {
      const lines = program.output.slice(from.get(program) ?? 0).split("\n").filter(Boolean).slice(-8);
      if (lines.length > 0) console.log(lines.map((line) => `         ${program.name}: ${line.slice(0, 300)}`).join("\n"));
    }
  }

  /** The last line, and whether all is well. */
  end() {
    console.log(`${this.passed} passed, ${this.failed.length} failed${this.skipped.length > 0 ? `, ${this.skipped.length} skipped` : ""}`);
    return this.passed > 0 && this.failed.length === 0;
  }
}
