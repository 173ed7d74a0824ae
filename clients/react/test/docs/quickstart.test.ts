// Runs the first steps of the quick start exactly as the page describes them.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { blocksOf, pages } from "./blocks.js";

const here = dirname(fileURLToPath(import.meta.url));
const clients = resolve(here, "../../..");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "tidings-quickstart-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  ["../docs/clients/QUICKSTART.md", ["ts", "react"]],
  ["react-ui/README.md", ["ts", "react", "react-ui"]],
])(
  "the commands of %s pack the packages into a folder that does not exist yet",
  (path, workspaces) => {
    const page = readFileSync(resolve(clients, path), "utf8");
    const commands = page
      .split("```sh\n")
      .map((block) => block.split("```")[0] ?? "")
      .find((block) => block.includes("npm pack"));
    // Skips the build, because this test must not replace the built packages.
    const lines = commands?.split("\n").filter((line) => !line.startsWith("npm run build")) ?? [];
    const script = lines.join("\n").replace(" && npm ci", "");
    expect(script).toContain("npm pack");
    const place = mkdtempSync(join(folder, "commands-"));
    const copy = join(place, "tidings/clients");
    mkdirSync(copy, { recursive: true });
    writeFileSync(
      join(copy, "package.json"),
      JSON.stringify({ name: "tidings-clients", private: true, workspaces }),
    );
    for (const name of workspaces) {
      for (const part of ["package.json", "README.md", "dist"]) {
        cpSync(join(clients, name, part), join(copy, name, part), { recursive: true });
      }
    }
    execFileSync("bash", ["-e", "-c", script], { cwd: join(place, "tidings"), stdio: "pipe" });
    const packages = workspaces.map((name) => `tidings-${name === "ts" ? "client" : name}-0.1.0.tgz`);
    expect(readdirSync(join(place, "my-chat")).sort()).toEqual(packages.sort());
  },
  60_000,
);

test("an example that makes a client or a chat is a client component, which a server can render too", () => {
  const apps = pages()
    .flatMap((page) => blocksOf(page))
    .filter(({ code }) => /<TidingsProvider options|<RoomScope|export default function App\b/.test(code));
  expect(apps.length).toBeGreaterThanOrEqual(8);
  for (const { page, code } of apps) {
    expect(code, page).toMatch(/^"use client";\n/);
    // The server also runs the module, and has no dialogs.
    expect(code, page).not.toMatch(/^(const|let) \w+ = prompt/m);
  }
});

test("an example that is a whole App.tsx has a default export, as Vite's template imports it", () => {
  const apps = pages()
    .flatMap((page) => blocksOf(page))
    .filter(({ code }) => /\b(const|function) App\b/.test(code));
  expect(apps.length).toBeGreaterThanOrEqual(3);
  for (const { page, code } of apps) {
    expect(code, page).toMatch(/export default function App\b/);
  }
});
