// Packs what is published into artefacts/, as `npm publish` would; what runs on a package runs on that.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));
export const artefacts = join(root, "artefacts");

/** The folders of the packages that are published. */
export const published = ["ts", "react"];

/**
 * Packs the package of a folder: the path of the tarball and the files in it.
 * @param {string} folder
 * @param {string} [into]
 * @returns {{ tarball: string, files: string[] }}
 */
export function pack(folder, into = artefacts) {
  mkdirSync(into, { recursive: true });
  const words = ["pack", "--json", "--ignore-scripts", "--pack-destination", into];
  const said = execFileSync("npm", words, {
    cwd: join(root, folder),
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [packed] = JSON.parse(said);
  return { tarball: join(into, packed.filename), files: packed.files.map((file) => file.path) };
}
