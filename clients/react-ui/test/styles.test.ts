// @vitest-environment jsdom
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { styleSheet } from "../scripts/styles.mjs";

const root = join(import.meta.dirname, "..");
const css = styleSheet().replace(/\/\*[\s\S]*?\*\//g, "");

/** The selectors of the rules, without those of steps in animations. */
const selectors = [
  ...css.replace(/@keyframes[^{]+\{(?:[^{}]*\{[^{}]*\})*\s*\}/g, "").matchAll(/([^{};]+)\{/g),
]
  .map(([, text = ""]) => text.trim())
  .filter((text) => !text.startsWith("@"));

/** The sources of the components. */
const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".tsx"))
  .map((name) => readFileSync(join(root, "src", name), "utf8"))
  .join("\n");

afterEach(() => {
  document.head.replaceChildren();
  document.body.replaceChildren();
});

test("the style sheet is all files, and each rule is about the chat only", () => {
  const files = readdirSync(join(root, "src/styles"));
  expect(selectors.length).toBeGreaterThan(200);
  for (const file of files) {
    const text = readFileSync(join(root, "src/styles", file), "utf8");
    expect(styleSheet().includes(text), file).toBe(true);
  }
  const foreign = selectors
    .flatMap((text) => text.split(/,(?![^(]*\))/))
    .map((text) => text.trim())
    .filter((text) => !/^(?:a|button)?\.tidings|^:where\(\.tidings|^:where\(:root\)$/.test(text));
  expect(foreign).toEqual([]);
});

test("every class and every animation has the prefix", () => {
  const classes = selectors.flatMap((text) =>
    [...text.matchAll(/\.([a-zA-Z][\w-]*)/g)].map(([, name]) => name),
  );
  expect(classes.length).toBeGreaterThan(200);
  expect(classes.filter((name) => name !== "tidings" && !name?.startsWith("tidings-"))).toEqual([]);
  const animations = [...css.matchAll(/@keyframes ([\w-]+)/g)].map(([, name]) => name);
  expect(animations.every((name) => name?.startsWith("tidings-"))).toBe(true);
  const used = [...sources.matchAll(/className="([^"]*)"/g)].flatMap(([, names = ""]) => names.split(" "));
  expect(used.length).toBeGreaterThan(100);
  expect(used.filter((name) => name !== "tidings" && !name.startsWith("tidings-"))).toEqual([]);
});

test("every variable has the prefix, and the page about the package lists those of the theme", () => {
  const names = [...css.matchAll(/(?<![\w-])--([\w-]+)/g)].map(([, name = ""]) => name);
  expect(names.filter((name) => !name.startsWith("tidings-"))).toEqual([]);
  const tokens = readFileSync(join(root, "src/styles/tokens.css"), "utf8");
  const theme = [...tokens.matchAll(/^ {2}(--[\w-]+):/gm)].map(([, name = ""]) => name);
  expect(theme.length).toBeGreaterThan(40);
  const page = readFileSync(join(root, "../../docs/clients/REACT_UI.md"), "utf8");
  const isListed = (name: string) =>
    page.includes(`\`${name}\``) || page.includes(`\`${name.replace(/\d$/, "0")}\``);
  expect(theme.filter((name) => !isListed(name))).toEqual([]);
});

test("a page that sets a variable of the theme changes the components", () => {
  const style = document.createElement("style");
  style.textContent = `${styleSheet()}\n:root { --tidings-accent: rgb(1, 2, 3); }`;
  document.head.append(style);
  const value = getComputedStyle(document.documentElement).getPropertyValue("--tidings-accent");
  expect(value.trim()).toBe("rgb(1, 2, 3)");
  const rule = /\.tidings-button-primary \{[^}]*background: var\(--tidings-accent\)/;
  expect(css).toMatch(rule);
});

test("the parts of a room have their own background, in any layout of a page", () => {
  const style = document.createElement("style");
  style.textContent = styleSheet();
  document.head.append(style);
  for (const part of ["message-pane", "message-skeleton", "pane-notice", "typing-line", "composer"]) {
    expect(sources, part).toContain(`tidings-${part}`);
    const element = document.createElement("div");
    element.className = `tidings-${part}`;
    document.body.append(element);
    expect(getComputedStyle(element).background, part).toBe("var(--tidings-ground)");
  }
});

test("the theme follows the system unless the page says otherwise, and forced colours have rules", () => {
  expect(css).toMatch(/:where\(:root\) \{\s*color-scheme: light dark;/);
  expect(css).toContain("@media (forced-colors: active)");
  expect(css).toContain("@media (prefers-reduced-motion: reduce)");
});
