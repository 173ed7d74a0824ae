import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const sources = fileURLToPath(new URL("../ts/src/", import.meta.url));

export default defineConfig({
  resolve: {
    // Tests use the sources of the kit, never an old build.
    alias: [
      { find: /^@tidings\/client$/, replacement: `${sources}index.ts` },
      { find: /^@tidings\/client\/(\w+)$/, replacement: `${sources}$1.ts` },
    ],
  },
  test: { include: ["test/**/*.test.ts"] },
});
