import { defineConfig } from "vitest/config";

/** The long gate runs only the files named `*.long.test.ts`: `npm run test:long`. */
const isLongRun = process.env.TIDINGS_LONG === "yes";
const usesFirefox = process.env.TIDINGS_BROWSER === "firefox";

/**
 * The files that need Chromium. Their tests use the protocol of Chromium, emulate phones, switch off the content
 * security policy of a page, read the frames of WebSockets, hold requests with bytes of files, wait for downloads, or
 * compare error messages of Chromium. Playwright offers none of these with WebDriver BiDi, or nobody has tried. Firefox
 * reports no long tasks.
 */
const NEEDS_CHROMIUM = ["accessibility", "examples", "failover", "menus", "phone", "policy", "privacy"]
  .concat("files", "live.long", "slow-network.long")
  .map((name) => `test/${name}.test.ts`);

export default defineConfig({
  test: {
    include: [`test/**/*${isLongRun ? ".long" : ""}.test.ts`],
    exclude: [...(isLongRun ? [] : ["**/*.long.test.ts"]), ...(usesFirefox ? NEEDS_CHROMIUM : [])],
    globalSetup: ["setup/global.ts"],
    // Each worker has its own system. Three workers keep two cores busy, because users and systems often wait. The long
    // tests measure times, so they run one after the other. In Firefox only one window at a time has the focus.
    maxWorkers: isLongRun || usesFirefox ? 1 : 3,
    // The files of a worker share their imports. Playwright takes two seconds to load.
    isolate: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000, interval: 50 } },
  },
});
