// What a first visit loads, compressed: index.html and all that it names, statically. Fails above the limit.
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";

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
