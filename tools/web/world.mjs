// What the page is driven against: the built binary as relay and agent, the demonstration model, and an upstream in front of it.
// Each program has a folder of its own that goes with it; every wait is for a condition, with a deadline, and says what was seen.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Upstream } from "./upstream.mjs";

export const PATIENCE = 30_000; // ms; a busy machine is slow, and never that slow

/** The first value of `condition` that is neither null, undefined nor false; or an error with what `seen` says. */
export async function until(what, condition, { within = PATIENCE, seen = () => "" } = {}) {
  const deadline = Date.now() + within;
  for (;;) {
    const value = await condition();
    if (value !== null && value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`no ${what} within ${within / 1000} s\n${await seen()}`);
    await new Promise((resolve) => setTimeout(resolve, 50)); // between two looks
  }
}

export function expect(condition, what) {
  if (!condition) throw new Error(what);
}

/** This environment without what could change how the product behaves. */
function environment(folder) {
  const foreign = /^(OLLAMA|OPENAI|ANTHROPIC|C2L|HTTPS?_PROXY|ALL_PROXY|NO_PROXY|XDG_)/i;
  const own = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  return { ...Object.fromEntries(own), HOME: folder };
}

/** A child process; what it wrote is kept. */
export class Program {
  static running = new Set();

  constructor(name, command, args, folder) {
    this.name = name;
    this.output = "";
    this.child = spawn(command, args, { cwd: folder, env: environment(folder), stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (piece) => (this.output = (this.output + piece).slice(-200_000)));
    this.ended = new Promise((resolve) => {
      this.child.on("close", resolve);
      this.child.on("error", (error) => {
        this.output += String(error);
        resolve(-1);
      });
    });
    this.ended.then(() => (this.hasEnded = true));
    Program.running.add(this);
  }

  /** Waits for its output to have this in it. */
  line(pattern) {
    const found = () => {
      const match = this.output.match(pattern);
      if (!match && this.hasEnded) throw new Error(`${this.name} ended before ${pattern}\n${this.output.slice(-3000)}`);
      return match;
    };
    return until(`${pattern} of ${this.name}`, found, { seen: () => this.output.slice(-3000) });
  }

  async end(signal = "SIGTERM") {
    Program.running.delete(this);
    this.child.kill(signal);
    const hurry = setTimeout(() => this.child.kill("SIGKILL"), 15_000);
    await this.ended;
    clearTimeout(hurry);
  }
}

/** Where a relay that was given port 0 listens. */
export async function relayPort(relay) {
  const [, port] = await relay.line(/relay starting.* address=127\.0\.0\.1:(\d+)/);
  return Number(port);
}

/** Relay, agent, engine. */
export class World {
  static async start({ binary, demo }) {
    const world = new World();
    world.binary = binary;
    world.folder = await mkdtemp(join(tmpdir(), "c2l-web-"));
    world.data = join(world.folder, "relay");
    world.demo = new Program("demo", demo, ["127.0.0.1:0", "127.0.0.1:0"], world.folder);
    const [, model, control] = await world.demo.line(/^(\S+:\d+) (\S+:\d+)$/m);
    world.control = `http://${control}`;
    world.upstream = await Upstream.start(model);
    world.port = 0; // a free one, at first
    await world.startRelay();
    world.port = await relayPort(world.relay);
    world.origin = `http://127.0.0.1:${world.port}`;
    world.token = await world.c2l("token", "issue", "--user", "owner", "--kind", "api", "--scope", "infer,account", "--ttl", "2h");
    const agentToken = await world.c2l("token", "issue", "--user", "owner", "--kind", "agent", "--ttl", "2h");
    await writeFile(join(world.folder, "agent.token"), agentToken, { mode: 0o600 });
    await world.startAgent();
    return world;
  }

  /** Runs a command of the binary beside the relay; what it printed. */
  async c2l(...words) {
    const options = { cwd: this.folder, env: { ...environment(this.folder), C2L_DATA_DIR: this.data } };
    const { stdout } = await promisify(execFile)(this.binary, words, options);
    return stdout.trim();
  }

  async startRelay() {
    const args = ["relay", "--listen", `127.0.0.1:${this.port}`, "--ops-listen", "off", "--data-dir", this.data];
    // Short enough that a load of a few seconds is over it.
    args.push("--first-byte-timeout", "5s", "--drain-timeout", "1s");
    this.relay = new Program("relay", this.binary, args, this.folder);
    await this.relay.line(/relay is ready/);
  }

  async startAgent() {
    const args = ["agent", "--relay", this.origin, "--token-file", "agent.token", "--device", "desk", "--upstream", this.upstream.url];
    this.agent = new Program("agent", this.binary, [...args, "--data-dir", join(this.folder, "agent")], this.folder);
    await this.connected();
  }

  /** Has relay and agent run again, whatever a case has left of them. */
  async mend() {
    if (this.relay.hasEnded) await this.startRelay();
    if (this.agent.hasEnded) await this.startAgent();
    await this.connected();
  }

  /** Waits until the session of this device's agent is open at the relay. */
  async connected(device = "desk") {
    await until("device at the relay", async () => {
      const { devices } = JSON.parse(await this.c2l("device", "list", "--json"));
      return devices.some(({ name }) => name === device);
    });
  }

  /** A link that signs one browser in, once. */
  async link(user = "owner") {
    const shown = await this.c2l("user", "link", "--user", user, "--public-url", this.origin);
    return shown.match(/https?:\S+#\/signin\?link=\S+/)[0];
  }

  /** Has a program ask the machine for something, as the owner. */
  async ask(path) {
    const answer = await fetch(`${this.origin}${path}`, { headers: { authorization: `Bearer ${this.token}` } });
    expect(answer.ok, `${path}: ${answer.status}`);
    await answer.text();
  }

  /** What the engine has counted. */
  async counters() {
    return (await fetch(`${this.control}/counters`)).json();
  }

  async stop() {
    await Promise.all([...Program.running].map((program) => program.end()));
    await this.upstream?.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
