import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packages } from "./blocks.js";
import { entries, snakeCase, undocumented } from "./exported.js";

const here = dirname(fileURLToPath(import.meta.url));
const clients = resolve(here, "../../..");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "tidings-api-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

/** The links of the built pages that lead to no page, file or anchor. */
function brokenLinks(root: string): { checked: number; broken: string[] } {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" });
  const texts = new Map<string, string>();
  const textOf = (file: string) => {
    const text = texts.get(file) ?? (existsSync(file) ? readFileSync(file, "utf8") : "");
    texts.set(file, text);
    return text;
  };
  let checked = 0;
  const broken: string[] = [];
  for (const name of names.filter((name) => name.endsWith(".html"))) {
    const page = join(root, name);
    for (const [, link = ""] of textOf(page).matchAll(/ href="([^"]*)"/g)) {
      if (link.includes("://")) continue;
      checked += 1;
      const [path = "", fragment = ""] = link.split("#").map(decodeURIComponent);
      const target = path === "" ? page : resolve(dirname(page), path);
      const text = textOf(target);
      if (text === "" || (fragment !== "" && !text.includes(` id="${fragment}"`))) {
        broken.push(`${name}: ${link}`);
      }
    }
  }
  return { checked, broken };
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
  const { checked, found } = snakeCase();
  expect(found).toEqual([]);
  expect(checked).toBeGreaterThan(100);
}, 60_000);

test("the check reports a nested field in snake_case", () => {
  const file = join(folder, "snake.ts");
  writeFileSync(file, "export interface Snake { readonly at: number; readonly in: { read_seq: number } }\n");
  expect(snakeCase([file]).found).toEqual(["Snake.read_seq"]);
}, 60_000);

test("the reference has every entry point of the packages", () => {
  const sources = packages.flatMap((name) => {
    const { exports } = JSON.parse(readFileSync(join(clients, name, "package.json"), "utf8"));
    const types = Object.values<{ types?: string }>(exports).flatMap((entry) => entry.types ?? []);
    return types.map((file) => join(name, file.replace("/dist/", "/src/").replace(/\.d\.ts$/, ".ts")));
  });
  // `browser` has the same exports as the other entry points of the kit.
  const wanted = sources.filter((file) => file !== "ts/src/browser.ts");
  expect(entries.map((file) => relative(clients, file)).sort()).toEqual(wanted.sort());
});

test("the reference builds without warnings, and its links have targets", () => {
  const out = join(folder, "api");
  // It exits with an error if the link of a comment has no target.
  execFileSync(process.execPath, [resolve(here, "../../scripts/api.mjs"), out], { stdio: "pipe" });
  expect(readdirSync(join(out, "modules"))).toHaveLength(entries.length);
  const { checked, broken } = brokenLinks(out);
  expect(broken).toEqual([]);
  expect(checked).toBeGreaterThan(1000);
}, 300_000);

test("the check of the reference reports a link without a target", () => {
  const root = join(folder, "broken");
  mkdirSync(root);
  const links = ["page.html#here", "#gone", "gone.html"].map((link) => `<a href="${link}">`);
  writeFileSync(join(root, "page.html"), `<h1 id="here">${links.join("")}`);
  expect(brokenLinks(root).broken).toEqual(["page.html: #gone", "page.html: gone.html"]);
});
