// Stands in for a relay while the page is worked on (`npm run dev`). Never part of a build: it is only ever a dev server's middleware.
import type { Plugin } from "vite";
import { answer } from "./routes.ts";

export function mock(): Plugin {
  return {
    name: "mock-relay",
    apply: "serve",
    configureServer(server) {
      if (process.env["C2L_RELAY"]) return; // a real one is proxied instead
      server.middlewares.use((request, response, next) => {
        if (!request.url?.startsWith("/web/v1/")) return next();
        void answer(request, response);
      });
    },
    config: () => (process.env["C2L_RELAY"] ? { server: { proxy: { "/web/v1": process.env["C2L_RELAY"] } } } : {}),
  };
}
