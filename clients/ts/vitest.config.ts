import { defineConfig } from "vitest/config";

/** Files named `*.long.test.ts` run only in the long gate, by `npm run test:long`. */
const isLongRun = process.env.TIDINGS_LONG === "yes";
/** The tests of `test-system/` start whole systems. The first size of `./dev test` leaves them out. */
const withSystems = process.env.TIDINGS_SYSTEM_TESTS !== "no";

export default defineConfig({
  test: {
    include: [`{test,test-system}/**/*${isLongRun ? ".long" : ""}.test.ts`],
    exclude: [...(isLongRun ? [] : ["**/*.long.test.ts"]), ...(withSystems ? [] : ["test-system/**"])],
    testTimeout: 30_000,
  },
});
