/**
 * Projects of users: a copy of a folder of `apps/`, with the packages of its manifest and the packed kit and hooks.
 * Needs the dist/ of each packed package (`npm run build`) and the registry of npm.
 */
import { execFile } from "node:child_process";
import { copyFile, cp, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
/** A program that does not end by itself must fail before the limit of its test, so that its output is shown. */
const RUN_LIMIT_MS = 240_000;

/** The folder `clients/`. */
export const clients = resolve(import.meta.dirname, "../../..");

/** The settings of npm for packages without a lock file. */
const NPM_SETTINGS = resolve(clients, "../harness/npmrc");

/** A text that is once in the code of each package. Bundlers must keep it, because it is part of an error message. */
export const MARKS = {
  "@tidings/client": "be made by @tidings/client/storage",
  "@tidings/react": "must be used inside a <TidingsProvider>",
} as const;

/** The same for the package that only apps of React Native use. */
export const NATIVE_MARK = "The key of secureToken may contain only";

/** Runs a program and returns its stdout and stderr. An error contains the output, which tells more than the status. */
export async function output(program: string, args: readonly string[], cwd: string): Promise<string> {
  const offline = { NEXT_TELEMETRY_DISABLED: "1", EXPO_NO_TELEMETRY: "1", EXPO_OFFLINE: "1" };
  const env = { ...process.env, ...offline, CI: "1" };
  // Vitest sets NODE_ENV to `test`, and a user's shell does not.
  Reflect.deleteProperty(env, "NODE_ENV");
  try {
    const { stdout, stderr } = await run(program, args, {
      cwd,
      env,
      maxBuffer: MAX_OUTPUT_BYTES,
      timeout: RUN_LIMIT_MS,
    });
    return stdout + stderr;
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`${program} ${args.join(" ")} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/** Packs kit and hooks, or the packages in other folders, into a folder and returns the tarballs. */
export async function packKit(into: string, folders = ["ts", "react"]): Promise<string[]> {
  const tarballs: string[] = [];
  for (const folder of folders) {
    const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", into];
    const { stdout } = await run("npm", args, { cwd: join(clients, folder) });
    const [packed] = JSON.parse(stdout) as { filename: string }[];
    if (packed === undefined) throw new Error(`npm packed nothing of ${folder}`);
    tarballs.push(join(into, packed.filename));
  }
  return tarballs;
}

/**
 * Copies an application of `apps/` into a folder and installs the packages of its manifest, and other packages: tarballs,
 * or versions that replace those of the manifest.
 */
export async function install(app: string, into: string, packages: readonly string[]): Promise<void> {
  const source = resolve(import.meta.dirname, "../../apps", app);
  const filter = (path: string) => !/(^|\/)(node_modules|\.next)$/.test(path.slice(source.length));
  await cp(source, into, { recursive: true, filter });
  await copyFile(NPM_SETTINGS, join(into, ".npmrc"));
  await output("npm", ["install", "--no-save", "--ignore-scripts", ...packages], into);
}

/** The version of a package that is installed in a folder. */
export async function installedVersion(folder: string, name: string): Promise<string> {
  const manifest = await readFile(join(folder, "node_modules", name, "package.json"), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}

/** How often a text occurs in another. */
export const occurrences = (text: string, of: string): number => text.split(of).length - 1;
