import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { pages } from "./blocks.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../../..");

/** The names of files that are built and not committed. A link to such a file is broken in the repository. */
const ignored = readFileSync(join(root, ".gitignore"), "utf8")
  .split("\n")
  .map((line) => line.replace(/\/$/, ""));

/** The anchors of the headings, as GitHub makes them. A second heading with the same name gets a number. */
function anchors(text: string): Set<string> {
  const found = new Set<string>();
  const count = new Map<string, number>();
  for (const [, heading = ""] of text.replace(/^```[\s\S]*?^```$/gm, "").matchAll(/^#+ (.*)$/gm)) {
    const name = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-");
    const before = count.get(name) ?? 0;
    count.set(name, before + 1);
    found.add(before === 0 ? name : `${name}-${before}`);
  }
  return found;
}

/** The broken links of a page. */
function brokenLinks(page: string): string[] {
  const text = readFileSync(join(root, page), "utf8");
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? "");
  return links.filter((link) => {
    if (link.includes("://")) return false;
    const [path = "", fragment] = link.split("#");
    const target = path === "" ? join(root, page) : resolve(root, dirname(page), path);
    if (!existsSync(target)) return true;
    if (
      relative(root, target)
        .split("/")
        .some((name) => ignored.includes(name))
    )
      return true;
    return fragment !== undefined && !anchors(readFileSync(target, "utf8")).has(fragment);
  });
}

test("every link of the docs has a target", () => {
  const found = pages().flatMap((page) => brokenLinks(page).map((link) => `${page}: ${link}`));
  expect(found).toEqual([]);
});
