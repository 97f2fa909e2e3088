// A relay that has people sign in at an identity provider, and that provider: a real one, of tools/identity, which lets everybody in.
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Program, relayPort, until } from "./world.mjs";

export class Identity {
  static async start(world, { identity }) {
    const own = new Identity();
    const folder = await mkdtemp(join(world.folder, "identity-"));
    own.provider = new Program("provider", "node", [join(identity, "provider.mjs"), "0", join(folder, "keys.json")], folder);
    try {
      [, own.issuer] = await own.provider.line(/provider is ready: (http:\S+)\n/);
      const issuer = [`issuer = "${own.issuer}"`, 'audience = "c2l"', "discovery = true", 'client-id = "c2l-page"', 'name = "Home"'];
      await writeFile(join(folder, "c2l.toml"), `[[issuers]]\n${issuer.join("\n")}\n`);
      const args = ["relay", "--listen", "127.0.0.1:0", "--ops-listen", "off", "--data-dir", join(folder, "relay"), "--config", "c2l.toml"];
      own.relay = new Program("relay with a provider", world.binary, args, folder);
      await own.relay.line(/relay is ready/);
      // The same world to a page, but for where it is.
      own.world = Object.assign(Object.create(world), { origin: `http://127.0.0.1:${await relayPort(own.relay)}` });
      await until("provider's addresses at the relay", async () => (await own.leave()).startsWith(`${own.issuer}/authorize`));
    } catch (error) {
      await own.end();
      throw error;
    }
    return own;
  }

  /** Begins a sign-in as a browser does that keeps no cookie: where it is sent. */
  async leave() {
    return (await fetch(`${this.world.origin}/web/v1/signin/0`, { redirect: "manual" })).headers.get("location");
  }

  /** Where the provider sends the browser back to from `place`. */
  async back(place) {
    return new URL((await fetch(place, { redirect: "manual" })).headers.get("location"));
  }

  async end() {
    await this.relay?.end();
    await this.provider.end();
  }
}
