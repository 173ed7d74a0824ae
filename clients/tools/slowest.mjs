// Prints one line for each test of a file that Vitest's JSON reporter wrote, the slowest first:
// `node tools/slowest.mjs FILE` prints SECONDS, a tab and NAME. It omits tests that did not run.
import { readFileSync } from "node:fs";
import { basename } from "node:path";

const { testResults } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const tests = testResults.flatMap(({ name, assertionResults }) =>
  assertionResults.map(({ duration, fullName }) => ({ duration, name: `${basename(name)}: ${fullName}` })),
);
for (const { duration, name } of tests
  .filter(({ duration }) => typeof duration === "number")
  .sort((a, b) => b.duration - a.duration)) {
  process.stdout.write(`${(duration / 1000).toFixed(2)}\t${name}\n`);
}
