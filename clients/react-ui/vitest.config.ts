import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const sources = fileURLToPath(new URL("../ts/src/", import.meta.url));

export default defineConfig({
  resolve: {
    // Tests use the sources of the kit and the hooks, never an old build.
    alias: [
      { find: /^@tidings\/client$/, replacement: `${sources}index.ts` },
      { find: /^@tidings\/client\/(\w+)$/, replacement: `${sources}$1.ts` },
      {
        find: /^@tidings\/react$/,
        replacement: fileURLToPath(new URL("../react/src/index.ts", import.meta.url)),
      },
    ],
  },
  test: { include: ["test/**/*.test.{ts,tsx}"], testTimeout: 20_000, hookTimeout: 20_000 },
});
