// Measures how many bytes, minified and gzipped, an entry point adds to a page that uses all of it. Peer dependencies
// do not count.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { root } from "./pack.mjs";

/** Returns the size in bytes of a page that imports these files, without chunks that the page loads later. */
async function pageSize(...files) {
  const bundle = await rolldown({
    input: "page",
    logLevel: "silent",
    // Lets chunks that load later share code with the entry chunk, as in an app.
    preserveEntrySignatures: "allow-extension",
    external: [/^(react|react-dom|vue|svelte|solid-js)($|\/)/, /^@tidings\/(client|react)($|\/)/],
    plugins: [
      {
        name: "page",
        resolveId: (id) => (id === "page" ? id : undefined),
        load: (id) =>
          id === "page"
            ? files.map((file) => `export * from ${JSON.stringify(file)};`).join("\n")
            : undefined,
      },
    ],
  });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  const [entry] = output;
  if (entry.imports.some((name) => output.some((chunk) => chunk.fileName === name))) {
    throw new Error("cannot measure a page whose entry imports other chunks");
  }
  return gzipSync(entry.code, { level: 9 }).length;
}

/**
 * Returns the size of the main entry or of a style sheet, or how much another entry adds to the main entry, in bytes.
 * @param {string} folder
 * @param {string} entry `.` or `./name`
 * @returns {Promise<number>}
 */
export async function sizeOf(folder, entry) {
  const file = (name) => join(root, folder, "dist", `${name}.js`);
  if (entry.endsWith(".css"))
    return gzipSync(readFileSync(join(root, folder, "dist", entry)), { level: 9 }).length;
  // The entry `browser` replaces all others, so its size is the size of the whole page.
  if (entry === "./browser") return pageSize(file("browser"));
  const main = await pageSize(file("index"));
  return entry === "." ? main : (await pageSize(file("index"), file(entry.slice(2)))) - main;
}
