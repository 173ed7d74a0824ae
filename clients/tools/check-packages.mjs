// Checks the packages as they would be published: they contain the right files and nothing else, their entry points and
// types resolve, and they are no larger than size.json allows. Run it with `npm run check-packages`.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { artefacts, pack, publishedFolders, relativeLinks, root } from "./pack.mjs";
import { sizeOf } from "./size.mjs";

const wanted = ["package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts"];
const problems = [];

/** Runs a program from node_modules and records its errors. */
async function run(name, ...args) {
  try {
    await promisify(execFile)(join(root, "node_modules/.bin", name), args);
  } catch (error) {
    problems.push(`${name} ${args.join(" ")}\n${error.stdout}${error.stderr}`);
  }
}

const runs = [];
const limits = JSON.parse(readFileSync(new URL("size.json", import.meta.url), "utf8"));
for (const folder of publishedFolders) {
  const { tarball, files, manifest } = pack(folder);
  for (const file of wanted) {
    if (!files.includes(file)) problems.push(`${folder}: ${file} is not in the package`);
  }
  for (const file of files) {
    const isStyleSheet = file === manifest.exports["./styles.css"]?.slice(2);
    if (!wanted.includes(file) && !isStyleSheet && !/^dist\/.+\.(js|js\.map|d\.ts)$/.test(file)) {
      problems.push(`${folder}: ${file} does not belong in the package`);
    }
  }
  if (!files.includes("dist/index.js.map")) problems.push(`${folder}: the source maps are missing`);
  const release = pack(folder, join(artefacts, "release"), "https://git.example.org/tidings");
  const { repository, homepage, bugs } = release.manifest;
  if (!repository?.directory || !homepage || !bugs?.url || relativeLinks(release.readme).length > 0) {
    problems.push(
      `${folder}: a release must name its repository, and link to it: ${relativeLinks(release.readme)}`,
    );
  }
  for (const file of files.filter((name) => name.endsWith(".d.ts"))) {
    if (readFileSync(join(root, folder, file), "utf8").includes("@internal"))
      problems.push(`${folder}: ${file} declares something internal`);
  }
  runs.push(run("publint", "run", tarball, "--strict"));
  // A style sheet has no types.
  runs.push(
    run("attw", tarball, "--profile", "esm-only", "--no-emoji", "--exclude-entrypoints", "styles.css"),
  );
  process.stdout.write(`${folder}: ${files.length} files\n`);
  const { name, exports } = manifest;
  for (const entry of Object.keys(exports)) {
    if (entry === "./package.json") continue;
    const full = `${name}${entry.slice(1)}`;
    const size = await sizeOf(folder, entry);
    process.stdout.write(`${full}: ${size} bytes of ${limits[full]} minified and gzipped\n`);
    if (!(size < limits[full]))
      problems.push(`${full} has ${size} bytes; size.json allows fewer than ${limits[full]}`);
  }
}
await Promise.all(runs);
for (const problem of problems) process.stderr.write(`${problem}\n`);
process.exit(problems.length > 0 ? 1 : 0);
