// Prints a file that Vitest's JSON reporter wrote, as lines with tabs: `passed N`, `failed N`, `flaky NAME (REASON)` for
// each test that passed when it was repeated, and `time SECONDS NAME` for each test, the slowest first.
import { readFileSync } from "node:fs";
import { basename } from "node:path";

const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const tests = testResults.flatMap(({ name, assertionResults }) =>
  assertionResults.map((result) => ({ ...result, name: `${basename(name)}: ${result.fullName}` })),
);
const print = (...words) => process.stdout.write(`${words.join("\t")}\n`);

print("passed", numPassedTests);
print("failed", numFailedTests);
// A test that passed keeps the messages of its failed attempts.
for (const { name, failureMessages, status } of tests) {
  if (status === "passed" && failureMessages?.length > 0) {
    const [reason] = failureMessages[0].split("\n");
    print("flaky", `${name} (${reason})`);
  }
}
for (const { duration, name } of tests
  .filter(({ duration }) => typeof duration === "number")
  .sort((a, b) => b.duration - a.duration)) {
  print("time", (duration / 1000).toFixed(2), name);
}
