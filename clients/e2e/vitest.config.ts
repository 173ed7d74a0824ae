import { defineConfig } from "vitest/config";

/** The long gate runs only the files named `*.long.test.ts`: `npm run test:long`. */
const isLongRun = process.env.TIDINGS_LONG === "yes";

export default defineConfig({
  test: {
    include: [`test/**/*${isLongRun ? ".long" : ""}.test.ts`],
    exclude: isLongRun ? [] : ["**/*.long.test.ts"],
    globalSetup: ["setup/global.ts"],
    // Each worker has its own system. Three workers keep two cores busy, because users and systems often wait. The long
    // tests measure times, so they run one after the other.
    maxWorkers: isLongRun ? 1 : 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000, interval: 50 } },
  },
});
