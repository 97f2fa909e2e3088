// An identity provider: oauth2-mock-server with its keys in a file. `node provider.mjs PORT KEYS`; port 0 is a free one, and the
// last line of the start says where it is.
//
// The form of a token request may say `aud`, `roles` (words separated by spaces) and `username`, which the claims then have;
// `client_id` becomes `azp`. SIGUSR2 adds a key, and writes the file: who is started with it again has the same keys.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Events, OAuth2Server } from "oauth2-mock-server";

const [port, file] = process.argv.slice(2);
const server = new OAuth2Server();
const { keys } = server.issuer;

const save = () => writeFileSync(file, JSON.stringify(keys.toJSON(true)), { mode: 0o600 });

if (existsSync(file)) {
  for (const key of JSON.parse(readFileSync(file, "utf8"))) await keys.add(key);
} else {
  await keys.generate("RS256");
  save();
}

server.service.on(Events.BeforeTokenSigning, ({ payload }, { body }) => {
  payload.aud ??= body.aud;
  payload.azp = body.client_id;
  if (body.username) payload.sub = body.username;
  if (body.roles) payload.realm_access = { roles: body.roles.split(" ") };
});

process.on("SIGUSR2", async () => {
  const { kid } = await keys.generate("ES256");
  save();
  console.error(`key added: ${kid}`);
});
process.on("SIGTERM", () => process.exit(0));

await server.start(Number(port), "127.0.0.1");
server.issuer.url = `http://127.0.0.1:${server.address().port}`;
console.error(`provider is ready: ${server.issuer.url}`);
