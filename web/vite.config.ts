// How the page is built. Invariant: the same sources give the same bytes, since the result is committed and compared.
import { defineConfig } from "vitest/config";
import { mock } from "./mock/server.ts";

export default defineConfig({
  base: "/",
  plugins: [mock()],
  build: {
    outDir: "../crates/web/dist",
    emptyOutDir: true,
    // What `light-dark()` and `<dialog>` need; older browsers are told nothing else would be safe to promise.
    target: ["chrome123", "firefox120", "safari17.5"],
    modulePreload: { polyfill: false }, // the polyfill would be an inline script
    assetsInlineLimit: 0, // no data: URLs
    sourcemap: false,
    reportCompressedSize: false,
  },
  test: {
    include: ["src/**/*.test.ts"],
    environment: "node",
  },
});
