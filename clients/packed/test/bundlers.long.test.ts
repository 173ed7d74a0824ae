/**
 * The packed kit, hooks and components in bundles of esbuild, Rollup and webpack, each with React 18 and 19. The bundles are for
 * browsers; they run in Node, where they render a page. TypeScript checks the same page with the types of both Reacts.
 */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  clients,
  install,
  installedVersion,
  MARKS,
  occurrences,
  output,
  packKit,
} from "./support/project.js";

/** For each version of React, the packages that replace those of the manifest. */
const REACTS = {
  "react-18": ["react@18.3.1", "react-dom@18.3.1", "@types/react@18.3.8", "@types/react-dom@18.3.7"],
  "react-19": [],
};
const BUNDLERS = ["esbuild", "rollup", "webpack"];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidings-bundles-"));
  const tarballs = await packKit(folder, ["ts", "react", "react-ui"]);
  for (const [react, packages] of Object.entries(REACTS))
    await install("bundlers", join(folder, react), [...tarballs, ...packages]);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(Object.keys(REACTS))("%s", (react) => {
  test.each(BUNDLERS)(
    "a bundle of %s contains the packed kit once and renders a page and a chat",
    async (bundler) => {
      const app = join(folder, react);
      const out = join(app, bundler);
      await output(process.execPath, [`${bundler}.mjs`, join(app, "page.js"), out], app);
      const files = (await readdir(out, { recursive: true })).filter((name) => name.endsWith(".js"));
      const text = (await Promise.all(files.map((name) => readFile(join(out, name), "utf8")))).join("\n");
      for (const mark of Object.values(MARKS)) expect(occurrences(text, mark), mark).toBe(1);
      // Webpack needs the global `self` of browsers. The server renderer of React 19 for browsers opens a MessageChannel, with which Node would not exit.
      const script = `globalThis.self = globalThis; await import(${JSON.stringify(join(out, "page.js"))}); process.exit(0)`;
      const printed = await output(process.execPath, ["--input-type=module", "--eval", script], app);
      const version = await installedVersion(app, "react");
      expect(version).toMatch(new RegExp(`^${react.split("-")[1]}\\.`));
      expect(JSON.parse(printed)).toEqual({ html: "<p>disconnected closed 0</p>", chat: true, version });
    },
  );

  test("the types of kit, hooks and components are valid with the types of this React", async () => {
    const tsc = createRequire(join(clients, "package.json")).resolve("typescript/bin/tsc");
    const checks = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--exactOptionalPropertyTypes"];
    const modules = ["--module", "esnext", "--moduleResolution", "bundler", "--types", "react"];
    const lib = ["--target", "es2022", "--lib", "es2022,dom,dom.iterable"];
    await output(process.execPath, [tsc, ...checks, ...modules, ...lib, "page.js"], join(folder, react));
  });
});
