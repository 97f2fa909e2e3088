// Drives the real page in a real browser against the built binary. Read next: world.mjs (what runs), page.mjs (the page), cases/.
import { parseArgs } from "node:util";
import { access } from "./cases/access.mjs";
import { chat } from "./cases/chat.mjs";
import { devices } from "./cases/devices.mjs";
import { engine } from "./cases/engine.mjs";
import { hostile } from "./cases/hostile.mjs";
import { identity } from "./cases/identity.mjs";
import { keys } from "./cases/keys.mjs";
import { requests } from "./cases/requests.mjs";
import { restart } from "./cases/restart.mjs";
import { screens } from "./cases/screens.mjs";
import { signin } from "./cases/signin.mjs";
import { launch } from "./page.mjs";
import { Report } from "./report.mjs";
import { World } from "./world.mjs";

const { values } = parseArgs({
  options: {
    binary: { type: "string" },
    demo: { type: "string" },
    chromium: { type: "string" },
    clients: { type: "string" },
    scripts: { type: "string" },
    identity: { type: "string" },
    pictures: { type: "string" },
    screenshots: { type: "string" },
    only: { type: "string", multiple: true, default: [] },
  },
});

const world = await World.start(values);
let isWell = false;
try {
  const browser = await launch(values.chromium);
  console.log(`Chromium ${browser.version()}, ${world.origin}`);
  const report = new Report({ world, browser, only: values.only, pictures: values.pictures });
  for (const cases of [signin, identity, chat, engine, hostile, keys, requests, access, devices, restart]) await cases(report, values);
  if (values.screenshots) await screens(report, values);
  await browser.close();
  isWell = report.end();
} finally {
  await world.stop();
}
process.exit(isWell ? 0 : 1);
