import { defineConfig } from "vitest/config";

/** All tests here install packages from the registry, so they run only in the long gate, by `npm run test:long`. */
const long = process.env.TIDINGS_LONG === "yes";

export default defineConfig({
  test: {
    include: long ? ["test/**/*.long.test.ts"] : [],
    // A build uses all cores, so the files run one after the other.
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
