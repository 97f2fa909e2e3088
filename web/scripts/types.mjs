// `npm run types` writes src/relay.d.ts from the relay's OpenAPI document; `--check` fails when it is not what it would write.
import { readFile, writeFile } from "node:fs/promises";
import openapi, { astToString } from "openapi-typescript";

const document = new URL("../../crates/relay/openapi.json", import.meta.url);
const target = new URL("../src/relay.d.ts", import.meta.url);
const header = "// Written by `npm run types` from crates/relay/openapi.json; do not edit.\n\n";
const fresh = header + astToString(await openapi(document));

if (process.argv.includes("--check")) {
  const committed = await readFile(target, "utf8").catch(() => "");
  if (committed !== fresh) {
    console.error("src/relay.d.ts is not what crates/relay/openapi.json says: npm run types");
    process.exit(1);
  }
} else {
  await writeFile(target, fresh);
}
