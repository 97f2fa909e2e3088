// What a first visit loads, compressed: index.html and all that it names, statically. Fails above the limit, and where a
// compressed file is not the plain one beside it: their bytes depend on the release of Node, so nobody compares those.
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync, gunzipSync } from "node:zlib";

const limit_bytes = 200 * 1024;
const dist = fileURLToPath(new URL("../../crates/web/dist", import.meta.url));
const seen = new Map();

async function visit(name) {
  if (seen.has(name)) return;
  const path = `${dist}${name}`;
  seen.set(name, (await stat(existsSync(`${path}.br`) ? `${path}.br` : path)).size);
  const text = await readFile(path, "utf8");
  // Only what is imported at once; `import(…)` is what is loaded when it is needed.
  const statically = name.endsWith(".html") ? /(?:src|href)="(\/[^"]+)"/g : /(?:from|import)\s*"\.\/([^"]+)"/g;
  for (const [, found] of text.matchAll(statically)) await visit(found.startsWith("/") ? found : `/assets/${found}`);
}

await visit("/index.html");
let total = 0;
for (const [name, bytes] of seen) {
  total += bytes;
  console.log(`${String(bytes).padStart(8)}  ${name}`);
}
console.log(`${String(total).padStart(8)}  in all, of ${limit_bytes} at most`);
if (total > limit_bytes) process.exit(1);

for (const entry of await readdir(dist, { recursive: true, withFileTypes: true })) {
  const unpack = { br: brotliDecompressSync, gz: gunzipSync }[entry.name.split(".").at(-1)];
  if (!entry.isFile() || !unpack) continue;
  const path = join(entry.parentPath, entry.name);
  const plain = await readFile(path.slice(0, -3)).catch(() => null);
  if (!plain?.equals(unpack(await readFile(path)))) {
    console.error(`${path} is not what lies beside it: npm run build`);
    process.exit(1);
  }
}
