import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { entries, snakeCase, undocumented } from "./exported.js";

const here = dirname(fileURLToPath(import.meta.url));
const api = resolve(here, "../../../../docs/clients/api");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "tidings-api-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

/** The Markdown files in a folder, by path. */
function files(root: string): Record<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".md"),
  );
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(root, name), "utf8")]));
}

test("every export and every method of the packages has a comment", () => {
  const { checked, missing } = undocumented();
  expect(missing).toEqual([]);
  // Without this check the test would pass when the search finds nothing.
  expect(checked).toBeGreaterThan(100);
}, 60_000);

test("the check reports an export or a method without a comment", () => {
  const file = join(folder, "bare.ts");
  writeFileSync(
    file,
    "export const bare = 1;\n/** Documented. */\nexport interface Documented { run(): void; go: () => void; n: number }\n",
  );
  expect(undocumented([file]).missing).toEqual(["bare", "Documented.run", "Documented.go"]);
}, 60_000);

test("no field of the kit's own types has a name in snake_case", () => {
  const http = resolve(here, "../../../ts/src/http.ts");
  const { checked, found } = snakeCase([...entries, http]);
  expect(found).toEqual([]);
  expect(checked).toBeGreaterThan(100);
}, 60_000);

test("the check reports a nested field in snake_case", () => {
  const file = join(folder, "snake.ts");
  writeFileSync(file, "export interface Snake { readonly at: number; readonly in: { read_seq: number } }\n");
  expect(snakeCase([file]).found).toEqual(["Snake.read_seq"]);
}, 60_000);

test("the reference matches the comments: `npm run api -w @tidings/react` generates it", () => {
  const out = join(folder, "api");
  execFileSync(process.execPath, [resolve(here, "../../scripts/api.mjs"), out], { stdio: "pipe" });
  expect(files(api)).toEqual(files(out));
}, 120_000);
