/** The browser of the tests: Chromium, or an installed Firefox with TIDINGS_BROWSER=firefox. */
import { existsSync } from "node:fs";
import { type BrowserServer, type BrowserType, chromium, firefox } from "playwright-core";

export const usesFirefox = process.env.TIDINGS_BROWSER === "firefox";

export const browserType: BrowserType = usesFirefox ? firefox : chromium;

/** Chromium runs without its sandbox, because a container does not have the rights for it. */
const CHROMIUM_FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];

/** Starts the browser. A Firefox gets these settings. */
export function launchBrowser(
  firefoxUserPrefs: Readonly<Record<string, string | boolean>> = {},
): Promise<BrowserServer> {
  if (!usesFirefox) {
    const executablePath = installedPath("TIDINGS_CHROMIUM", "/usr/bin/chromium");
    return chromium.launchServer({ executablePath, args: CHROMIUM_FLAGS });
  }
  // Playwright's own protocol needs its own build of Firefox. This channel uses WebDriver BiDi, which each Firefox has.
  const executablePath = installedPath("TIDINGS_FIREFOX", "/usr/bin/firefox-esr");
  return firefox.launchServer({ channel: "moz-firefox", executablePath, firefoxUserPrefs });
}

function installedPath(variable: string, byDefault: string): string {
  const path = process.env[variable] || byDefault;
  if (!existsSync(path)) throw new Error(`${path} is missing: set ${variable} to the path of the browser`);
  return path;
}
