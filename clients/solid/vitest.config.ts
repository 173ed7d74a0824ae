import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const sources = fileURLToPath(new URL("../ts/src/", import.meta.url));

export default defineConfig({
  resolve: {
    // The page's build of the framework, because Vitest would take that for servers.
    conditions: ["browser", "development"],
    // Tests use the sources of the kit, never an old build.
    alias: [
      { find: /^@tidings\/client$/, replacement: `${sources}index.ts` },
      { find: /^@tidings\/client\/(\w+)$/, replacement: `${sources}$1.ts` },
    ],
  },
  test: { environment: "jsdom", include: ["test/**/*.test.ts"], server: { deps: { inline: [/solid-js/] } } },
});
