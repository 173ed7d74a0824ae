/** Checks the accessibility of a page with axe. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults, RunOptions } from "axe-core";
import type { Person } from "./person.js";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/**
 * The serious and critical accessibility faults of the current page. The browser must bypass the page's content
 * security policy.
 */
export async function accessibilityFaults(person: Person): Promise<string[]> {
  const loaded = await person.page.evaluate(() => "axe" in window);
  if (!loaded) await person.page.addScriptTag({ content: axeSource });
  // Waits for animations to finish.
  await person.page.evaluate(() =>
    Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => animation))),
  );
  const results = await person.page.evaluate(() => {
    const { axe } = window as unknown as {
      axe: { run: (on: Document, with_: RunOptions) => Promise<AxeResults> };
    };
    return axe.run(document, { resultTypes: ["violations"] });
  });
  return results.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
}
