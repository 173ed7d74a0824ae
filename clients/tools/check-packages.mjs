// Holds what would be published against what others will see of it: only what belongs there, entry points that resolve
// with their types, and no more bytes than agreed on: `npm run check-packages`.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { pack, published, root } from "./pack.mjs";
import { sizeOf } from "./size.mjs";

const wanted = ["package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts"];
const broken = [];

/** Runs a program of node_modules, and keeps what it complains of. */
async function run(name, ...words) {
  try {
    await promisify(execFile)(join(root, "node_modules/.bin", name), words);
  } catch (error) {
    broken.push(`${name} ${words.join(" ")}\n${error.stdout}${error.stderr}`);
  }
}

const runs = [];
const limits = JSON.parse(readFileSync(new URL("size.json", import.meta.url), "utf8"));
for (const folder of published) {
  const { tarball, files } = pack(folder);
  for (const file of wanted) {
    if (!files.includes(file)) broken.push(`${folder}: ${file} is not in the package`);
  }
  for (const file of files) {
    if (!wanted.includes(file) && !/^dist\/.+\.(js|d\.ts)$/.test(file)) {
      broken.push(`${folder}: ${file} does not belong into the package`);
    }
  }
  runs.push(run("publint", "run", tarball, "--strict"));
  runs.push(run("attw", tarball, "--profile", "esm-only", "--no-emoji"));
  process.stdout.write(`${folder}: ${files.length} files\n`);
  const { name, exports } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
  for (const entry of Object.keys(exports)) {
    if (entry === "./package.json") continue;
    const full = `${name}${entry.slice(1)}`;
    const size = await sizeOf(folder, entry);
    process.stdout.write(`${full}: ${size} bytes of ${limits[full]} minified and gzipped\n`);
    if (!(size < limits[full]))
      broken.push(`${full}: ${size} bytes, and ${limits[full]} were agreed on in size.json`);
  }
}
await Promise.all(runs);
for (const what of broken) process.stderr.write(`${what}\n`);
process.exit(broken.length > 0 ? 1 : 0);
