/** The demo: built where that is missing or older than its sources, and served as people serve it. */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Described } from "../../ts/test-system/stack.js";

const clients = resolve(import.meta.dirname, "../..");

/** The folder of the demo; TIDINGS_DEMO_DIR names another one, which is taken as it is. */
const demoFolder = (): string => process.env.TIDINGS_DEMO_DIR || join(clients, "web");

/** Builds what is not built, or older than what it is made of. */
export function buildDemo(): void {
  if (process.env.TIDINGS_DEMO_DIR) return;
  const kits = ["ts", "react"].map((kit) => join(clients, kit, "dist/index.js"));
  const page = join(clients, "web/dist/index.html");
  const sources = ["web/src", "web/public", "web/index.html", "web/vite.config.ts"];
  if (kits.some((kit) => !existsSync(kit))) run("build");
  else if (!existsSync(page) || newest([...kits, ...sources.map((path) => join(clients, path))]) > at(page)) {
    run("build", "-w", "@tidings/demo");
  }
}

function run(...script: string[]): void {
  // Otherwise it would be built for tests, with a React that is larger and slower.
  const env = { ...process.env, NODE_ENV: "production" };
  execFileSync("npm", ["run", ...script], { cwd: clients, env, stdio: ["ignore", "ignore", "inherit"] });
}

const at = (path: string): number => statSync(path).mtimeMs;

function newest(paths: readonly string[]): number {
  const inside = (path: string): string[] =>
    statSync(path).isDirectory()
      ? readdirSync(path, { recursive: true, encoding: "utf8" }).map((name) => join(path, name))
      : [];
  return Math.max(...paths.flatMap((path) => [path, ...inside(path)]).map(at));
}

/** Starts the demo's server on a free port. Resolves once it listens, with its origin. */
export async function serveDemo(system: Described): Promise<{ url: string; close: () => Promise<void> }> {
  const child = spawn(process.execPath, [join(demoFolder(), "serve.mjs"), "--port", "0"], {
    env: {
      ...process.env,
      TIDINGS_JWT_SECRET: system.jwt_secret,
      TIDINGS_DEMO_GATEWAYS: system.gateways.join(","),
      TIDINGS_DEMO_PERSISTENCE: system.persistence.join(","),
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<void>((done) => child.once("close", () => done()));
  const said = await new Promise<string>((listens, failed) => {
    child.stdout.once("data", (text: Buffer) => listens(text.toString()));
    child.once("error", failed);
    void ended.then(() => failed(new Error("the demo's server ended")));
  });
  const close = async () => {
    child.kill();
    await ended;
  };
  return { url: said.trim().split(" ").at(-1) ?? "", close };
}
