import { defineConfig } from "vitest/config";

/** Files named `*.long.test.ts` run only in the long gate, by `npm run test:long`. */
const isLongRun = process.env.TIDINGS_LONG === "yes";

export default defineConfig({
  test: {
    include: [`{test,test-system}/**/*${isLongRun ? ".long" : ""}.test.ts`],
    exclude: isLongRun ? [] : ["**/*.long.test.ts"],
    testTimeout: 30_000,
  },
});
