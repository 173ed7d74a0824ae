import { expect, test } from "vitest";
import { blocksOf, compile, pages } from "./blocks.js";

test("every ts and tsx block of the docs compiles against the built packages", () => {
  const blocks = pages().flatMap((page) => blocksOf(page));
  // Without this check the test would pass when the search finds nothing.
  expect(blocks.length).toBeGreaterThan(40);
  expect(compile(blocks)).toEqual([]);
}, 120_000);

test("a block that calls an unknown method is reported with its page and line", () => {
  const page =
    'Some text.\n\n```ts\nimport { TidingsClient } from "@tidings/client";\n\nnew TidingsClient().fly();\n```\n';
  const [block] = blocksOf("page.md", page);
  expect(block).toBeDefined();
  expect(compile(block === undefined ? [] : [block])).toEqual(
    expect.arrayContaining([expect.stringMatching(/^page\.md:6: /)]),
  );
}, 120_000);
