// A real engine beside the demonstration model: llama.cpp's own server on a tiny model, which speaks OpenAI's API alone. It stands on
// a machine of its own, `rack`, for one case.
//
// The scripts that make and serve the model come from outside this repository, and tools/clients/run installs what they need; without
// them there is no engine, and its cases say so.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { Program, until } from "./world.mjs";

export class Engine {
  /** What is missing for one, or null. */
  static missing({ clients, scripts }) {
    if (!existsSync(join(clients, "venv/bin/python"))) return "tools/clients/run has not installed llama.cpp";
    return existsSync(join(scripts, "serve_tiny.py")) ? null : "the scripts that serve it are not beside the checkout";
  }

  /** One that answers with the model `name`, made with these switches, and its agent. */
  static async start(world, { clients, scripts }, name, ...make) {
    const engine = new Engine();
    const python = join(clients, "venv/bin/python");
    const model = join(clients, `page-${name}.gguf`);
    if (!existsSync(model)) {
      await promisify(execFile)(python, [join(scripts, "make_tiny_gguf.py"), `${model}.part`, ...make]);
      await rename(`${model}.part`, model);
    }
    engine.server = new Program("engine", python, [join(scripts, "serve_tiny.py"), model, "0", "--alias", name, "--slots", "1"], world.folder);
    try {
      [, engine.url] = await engine.server.line(/LISTEN (http:\S+)\n/);
      await until("answer of the engine", () => fetch(`${engine.url}/health`).then(({ ok }) => ok, () => false), { seen: () => engine.server.output });
      const args = ["agent", "--relay", world.origin, "--token-file", "agent.token", "--device", "rack", "--upstream", engine.url];
      engine.agent = new Program("agent of rack", world.binary, [...args, "--data-dir", join(world.folder, "rack")], world.folder);
      await world.connected("rack");
    } catch (error) {
      await engine.end();
      throw error;
    }
    return engine;
  }

  /** Whether it makes an answer just now. */
  async isBusy() {
    const slots = await (await fetch(`${this.url}/slots`)).json();
    return slots.some((slot) => slot.is_processing);
  }

  async end() {
    await this.agent?.end();
    await this.server.end();
  }
}
