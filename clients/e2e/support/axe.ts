/** What axe finds wrong for those who see, hear or move otherwise. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults, RunOptions } from "axe-core";
import type { Person } from "./person.js";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The serious and critical faults of what is shown now, each with where it is. The page must not mind its policy. */
export async function faults(person: Person): Promise<string[]> {
  const there = await person.page.evaluate(() => "axe" in window);
  if (!there) await person.page.addScriptTag({ content: source });
  // What moves is looked at when it has come to rest.
  await person.page.evaluate(() =>
    Promise.all(document.getAnimations().map((one) => one.finished.catch(() => one))),
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
