import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { undocumented } from "./exported.js";

const here = dirname(fileURLToPath(import.meta.url));
const api = resolve(here, "../../../../docs/clients/api");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "tidings-api-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Text of all files below a folder, by path. */
function files(root: string): Record<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".md"),
  );
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(root, name), "utf8")]));
}

test("everything that the packages export, and all that can be called on it, has a comment", () => {
  const { looked, bare } = undocumented();
  expect(bare).toEqual([]);
  // So that a change of form in the sources cannot make the search find nothing.
  expect(looked).toBeGreaterThan(100);
}, 60_000);

test("an export or a method without a comment is found", () => {
  const file = join(folder, "bare.ts");
  writeFileSync(
    file,
    "export const bare = 1;\n/** Said. */\nexport interface Said { run(): void; go: () => void; n: number }\n",
  );
  expect(undocumented([file]).bare).toEqual(["bare", "Said.run", "Said.go"]);
}, 60_000);

test("the reference is that of the comments: `npm run api -w @tidings/react` writes it", () => {
  const out = join(folder, "api");
  execFileSync(process.execPath, [resolve(here, "../../scripts/api.mjs"), out], { stdio: "pipe" });
  expect(files(api)).toEqual(files(out));
}, 120_000);
