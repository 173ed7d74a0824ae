/** Builds the demo when its build is missing or older than its sources, and starts its server. */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Described } from "../../ts/test-system/stack.js";

const clients = resolve(import.meta.dirname, "../..");

/** The folder of the demo. TIDINGS_DEMO_DIR names another folder, which is never built. */
const demoFolder = (): string => process.env.TIDINGS_DEMO_DIR || join(clients, "web");

/** Builds the kit and the demo when a build is missing or older than its sources. */
export function buildDemo(): void {
  if (process.env.TIDINGS_DEMO_DIR) return;
  const kits = ["ts", "react"].map((kit) => join(clients, kit, "dist/index.js"));
  const page = join(clients, "web/dist/index.html");
  const sources = ["web/src", "web/public", "web/index.html", "web/vite.config.ts"];
  const inputs = [...kits, ...sources.map((path) => join(clients, path))];
  if (kits.some((kit) => !existsSync(kit))) run("build");
  else if (!existsSync(page) || newestTime(inputs) > modifiedAt(page)) run("build", "-w", "@tidings/demo");
}

function run(...script: string[]): void {
  // Vitest sets NODE_ENV to `test`, which would build a larger and slower React.
  const env = { ...process.env, NODE_ENV: "production" };
  execFileSync("npm", ["run", ...script], { cwd: clients, env, stdio: ["ignore", "ignore", "inherit"] });
}

const modifiedAt = (path: string): number => statSync(path).mtimeMs;

function newestTime(paths: readonly string[]): number {
  const filesIn = (path: string): string[] =>
    statSync(path).isDirectory()
      ? readdirSync(path, { recursive: true, encoding: "utf8" }).map((name) => join(path, name))
      : [];
  return Math.max(...paths.flatMap((path) => [path, ...filesIn(path)]).map(modifiedAt));
}

/** Starts the demo's server on a free port. Resolves with its origin once it listens. */
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
  const exited = new Promise<void>((done) => child.once("close", () => done()));
  const output = await new Promise<string>((listens, failed) => {
    child.stdout.once("data", (text: Buffer) => listens(text.toString()));
    child.once("error", failed);
    void exited.then(() => failed(new Error("the demo's server exited")));
  });
  const close = async () => {
    child.kill();
    await exited;
  };
  return { url: output.trim().split(" ").at(-1) ?? "", close };
}
