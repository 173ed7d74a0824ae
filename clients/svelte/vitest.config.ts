import { fileURLToPath } from "node:url";
import { compile } from "svelte/compiler";
import { defineConfig } from "vitest/config";

const sources = fileURLToPath(new URL("../ts/src/", import.meta.url));

export default defineConfig({
  plugins: [
    {
      name: "svelte",
      transform: (code, id) => (id.endsWith(".svelte") ? compile(code, { filename: id }).js : undefined),
    },
  ],
  resolve: {
    // The page's build of the framework, because Vitest would take that for servers.
    conditions: ["browser", "development"],
    // Tests use the sources of the kit, never an old build.
    alias: [
      { find: /^@tidings\/client$/, replacement: `${sources}index.ts` },
      { find: /^@tidings\/client\/(\w+)$/, replacement: `${sources}$1.ts` },
    ],
  },
  test: { environment: "jsdom", include: ["test/**/*.test.ts"], server: { deps: { inline: [/svelte/] } } },
});
