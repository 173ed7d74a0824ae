/** Builds the demo when its build is missing or older than its sources, and starts its server. */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { SystemAddresses } from "../../ts/test-system/stack.js";

const clients = resolve(import.meta.dirname, "../..");

/** The folder of the demo. TIDINGS_DEMO_DIR names another folder, which is never built. */
const demoFolder = (): string => process.env.TIDINGS_DEMO_DIR || join(clients, "web");

/** Builds the kit and the demo when a build is missing or older than its sources. */
export function buildDemo(): void {
  if (process.env.TIDINGS_DEMO_DIR) return;
  const kitBuilds = ["ts", "react", "react-ui"].map((kit) => join(clients, kit, "dist/index.js"));
  const pageBuild = join(clients, "web/dist/index.html");
  const pages = ["web/index.html", "web/examples.html", "web/vite.config.ts"];
  const sources = ["web/src", "web/public", "web/pwa", ...pages];
  const inputs = [...kitBuilds, ...sources.map((path) => join(clients, path))];
  const components = join(clients, "react-ui/src");
  if (kitBuilds.some((kit) => !existsSync(kit))) npmRun("build");
  else if (newestTime([components]) > modifiedAt(join(clients, "react-ui/dist/styles.css")))
    npmRun("build", "-w", "@tidings/react-ui", "-w", "@tidings/demo");
  else if (!existsSync(pageBuild) || newestTime(inputs) > modifiedAt(pageBuild))
    npmRun("build", "-w", "@tidings/demo");
}

function npmRun(...script: string[]): void {
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

/**
 * Starts the demo's server on a free port. Resolves with its origin once it listens. With `withServices`, the origin of
 * HTTP, files and push, the demo has files and push.
 */
export async function serveDemo(
  system: SystemAddresses,
  withServices?: string,
): Promise<{ url: string; close: () => Promise<void> }> {
  const child = spawn(process.execPath, [join(demoFolder(), "serve.mjs"), "--port", "0"], {
    env: {
      ...process.env,
      TIDINGS_JWT_SECRET: system.jwt_secret,
      TIDINGS_DEMO_GATEWAYS: system.gateways.join(","),
      TIDINGS_DEMO_PERSISTENCE: withServices ?? system.persistence.join(","),
      TIDINGS_DEMO_FILES: withServices ?? "",
      TIDINGS_DEMO_PUSH: withServices ? "yes" : "",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const output = await new Promise<string>((resolve, reject) => {
    child.stdout.once("data", (text: Buffer) => resolve(text.toString()));
    child.once("error", reject);
    void exited.then(() => reject(new Error("the demo's server exited")));
  });
  const close = async () => {
    child.kill();
    await exited;
  };
  return { url: output.trim().split(" ").at(-1) ?? "", close };
}
