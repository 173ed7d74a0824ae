/** Long because the page loads over an emulated slow network. */
import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import { printFigures } from "../support/measure.js";

const chat = new Chat();

/** Slow 3G: 400 kbit/s in each direction, and 400 ms from a request to its answer. */
const LATENCY_MS = 400;
const BYTES_PER_SECOND = 50_000;

test("on slow 3G and without a cache the page shows something within 15 seconds", async () => {
  // A new context has an empty cache.
  const context = await chat.browser.newContext({ serviceWorkers: "block" });
  try {
    const page = await context.newPage();
    const session = await context.newCDPSession(page);
    await session.send("Network.enable");
    await session.send("Network.emulateNetworkConditions", {
      offline: false,
      latency: LATENCY_MS,
      downloadThroughput: BYTES_PER_SECOND,
      uploadThroughput: BYTES_PER_SECOND,
    });
    await page.goto(`${chat.environment.demo}/`, { waitUntil: "commit", timeout: 30_000 });
    await page.getByLabel("Your name").waitFor({ timeout: 45_000 });
    const figures = await page.evaluate(() => {
      const files = [
        ...performance.getEntriesByType("navigation"),
        ...performance.getEntriesByType("resource"),
      ] as PerformanceResourceTiming[];
      const paint = performance.getEntriesByName("first-contentful-paint")[0];
      return {
        firstContentfulPaintMs: Math.round(paint?.startTime ?? Number.POSITIVE_INFINITY),
        loginFormMs: Math.round(performance.now()),
        requests: files.length,
        transferredBytes: files.reduce((sum, { transferSize }) => sum + transferSize, 0),
      };
    });
    printFigures("first paint on slow 3G", figures);
    // A shorter time than the latency would mean that the network was not slow.
    expect(figures.firstContentfulPaintMs).toBeGreaterThan(LATENCY_MS);
    expect(figures.firstContentfulPaintMs).toBeLessThan(15_000);
  } finally {
    await context.close();
  }
});
