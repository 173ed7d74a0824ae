import { defineConfig } from "vitest/config";

/** Files named `*.long.test.ts` run only in the long gate, by `npm run test:long`. */
const long = process.env.TIDINGS_LONG === "yes";

export default defineConfig({
  test: {
    include: [`{test,test-system}/**/*${long ? ".long" : ""}.test.ts`],
    exclude: long ? [] : ["**/*.long.test.ts"],
    testTimeout: 30_000,
  },
});
