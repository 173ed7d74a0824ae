// Packs the published packages into artefacts/, as `npm publish` would. `check-packages.mjs` checks these tarballs.
// Run it to publish: `TIDINGS_REPOSITORY=https://… node tools/pack.mjs` prints the tarballs for `npm publish`.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));
export const artefacts = join(root, "artefacts");

/** The folders of the packages that are published. */
export const publishedFolders = ["ts", "react", "react-ui", "react-native", "vue", "svelte", "solid"];

/**
 * Packs the package in a folder. Returns the path of the tarball, the files in it, its package.json and its README.
 * @param {string} folder
 * @param {string} [into]
 * @param {string} [repository] the public address of the repository, which package.json and the links of the README get
 */
export function pack(folder, into = artefacts, repository = process.env.TIDINGS_REPOSITORY) {
  mkdirSync(into, { recursive: true });
  const copy = mkdtempSync(join(into, `${folder}-`));
  try {
    const manifest = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
    for (const name of [...manifest.files, "LICENSE"]) {
      cpSync(join(root, folder, name), join(copy, name), { recursive: true });
    }
    let readme = readFileSync(join(copy, "README.md"), "utf8");
    if (repository) {
      const base = repository.replace(/(\.git)?\/*$/, "");
      const directory = `clients/${folder}`;
      manifest.repository = { type: "git", url: `git+${base}.git`, directory };
      manifest.homepage = `${base}/tree/main/${directory}#readme`;
      manifest.bugs = { url: `${base}/issues` };
      readme = absoluteLinks(readme, (path) => `${base}/blob/main/${posix.join(directory, path)}`);
      writeFileSync(join(copy, "README.md"), readme);
    }
    writeFileSync(join(copy, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
    const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", into];
    const output = execFileSync("npm", args, {
      cwd: copy,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const [packed] = JSON.parse(output);
    return {
      tarball: join(into, packed.filename),
      files: packed.files.map((file) => file.path),
      manifest,
      readme,
    };
  } finally {
    rmSync(copy, { recursive: true });
  }
}

/** The relative links of a page. They lead to files of the repository, so they would be broken on npm. */
export const relativeLinks = (page) =>
  [...page.matchAll(/\]\(([^)\s#]+)/g)].map(([, link]) => link).filter((link) => !link.includes("://"));

/** Replaces each relative link of a page by `address` of its path. */
function absoluteLinks(page, address) {
  return page.replace(/\]\(([^)\s#]+)/g, (all, link) => (link.includes("://") ? all : `](${address(link)}`));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const folder of publishedFolders) process.stdout.write(`${pack(folder).tarball}\n`);
}
