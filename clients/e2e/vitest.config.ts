import { defineConfig } from "vitest/config";

/** Files named `*.long.test.ts` run in the long gate only, and alone: `npm run test:long`. */
const long = process.env.TIDINGS_LONG === "yes";

export default defineConfig({
  test: {
    include: [`test/**/*${long ? ".long" : ""}.test.ts`],
    exclude: long ? [] : ["**/*.long.test.ts"],
    globalSetup: ["setup/global.ts"],
    // Each worker has a system of its own. Three keep two cores busy, because people and systems also wait.
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000, interval: 50 } },
  },
});
