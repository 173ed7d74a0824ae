// Joins the style sheets to dist/styles.css. The order matters: later files override earlier ones.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const FILES = [
  "tokens",
  "base",
  "ui",
  "floating",
  "forms",
  "shell",
  "sidebar",
  "room",
  "message",
  "bubble",
  "composer",
  "files",
  "panel",
  "touch",
  "contrast",
];

const root = join(import.meta.dirname, "..");

/** The whole style sheet of the package. */
export function styleSheet() {
  return FILES.map((name) => readFileSync(join(root, `src/styles/${name}.css`), "utf8")).join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(join(root, "dist"), { recursive: true });
  writeFileSync(join(root, "dist/styles.css"), styleSheet());
}
