// Packs the published packages into artefacts/, as `npm publish` would. `check-packages.mjs` checks these tarballs.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));
export const artefacts = join(root, "artefacts");

/** The folders of the packages that are published. */
export const publishedFolders = ["ts", "react"];

/**
 * Packs the package in a folder. Returns the path of the tarball and the files in it.
 * @param {string} folder
 * @param {string} [into]
 * @returns {{ tarball: string, files: string[] }}
 */
export function pack(folder, into = artefacts) {
  mkdirSync(into, { recursive: true });
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", into];
  const output = execFileSync("npm", args, {
    cwd: join(root, folder),
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [packed] = JSON.parse(output);
  return { tarball: join(into, packed.filename), files: packed.files.map((file) => file.path) };
}
