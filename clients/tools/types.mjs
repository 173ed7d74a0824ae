// Checks the types of every package that has a tsconfig.json, tests included: `npm run types`.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const root = new URL("../", import.meta.url);
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const { workspaces } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));

let failed = 0;
for (const folder of workspaces.filter((folder) => existsSync(new URL(`${folder}/tsconfig.json`, root)))) {
  const checked = spawnSync(process.execPath, [tsc, "--noEmit", "-p", `${folder}/tsconfig.json`], {
    cwd: root,
    stdio: "inherit",
  });
  if (checked.status !== 0) {
    process.stderr.write(`types: ${folder} has errors\n`);
    failed = 1;
  }
}
process.exit(failed);
