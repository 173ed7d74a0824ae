// Checks the types of every package that has a tsconfig.json, tests included: `npm run types`.
// The checks run in parallel, one per core. node_modules/.cache/ keeps the results of unchanged files.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const cache = `${root}node_modules/.cache`;
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const { workspaces } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
const pending = workspaces.filter((folder) => existsSync(`${root}${folder}/tsconfig.json`));

let failed = 0;

/** Checks one package and prints all its errors together. */
async function check(folder) {
  const cacheFlags = ["--incremental", "--tsBuildInfoFile", `${cache}/types-${folder}.tsbuildinfo`];
  const child = spawn(process.execPath, [tsc, "--noEmit", ...cacheFlags, "-p", `${folder}/tsconfig.json`], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise((done) => child.once("close", (code, signal) => done(code ?? signal)));
  const output = await child.stdout.setEncoding("utf8").reduce((text, piece) => text + piece, "");
  const status = await exited;
  process.stdout.write(output);
  if (status !== 0) {
    process.stderr.write(`types: ${folder} has errors (${status})\n`);
    failed = 1;
  }
}

async function checkPending() {
  for (let folder = pending.shift(); folder !== undefined; folder = pending.shift()) await check(folder);
}

mkdirSync(cache, { recursive: true });
await Promise.all(Array.from({ length: availableParallelism() }, checkPending));
process.exit(failed);
