// What a package adds to a page that uses all of an entry of it, without its peers: bytes, minified and gzipped.
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { root } from "./pack.mjs";

/** What a page loads to have these files; what it loads later, if ever, is not counted. */
async function page(...files) {
  const made = await rolldown({
    input: "page",
    logLevel: "silent",
    // As in an app: what is loaded later shares what is there.
    preserveEntrySignatures: "allow-extension",
    external: [/^react($|\/)/, /^@tidings\/client/],
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
  const { output } = await made.generate({ format: "esm", minify: true });
  const [entry] = output;
  if (entry.imports.some((name) => output.some((chunk) => chunk.fileName === name))) {
    throw new Error("a page in more than one piece cannot be measured");
  }
  return gzipSync(entry.code, { level: 9 }).length;
}

/**
 * The main entry as a whole; of each other entry what it adds to that.
 * @param {string} folder
 * @param {string} entry `.` or `./name`
 * @returns {Promise<number>}
 */
export async function sizeOf(folder, entry) {
  const file = (name) => join(root, folder, "dist", `${name}.js`);
  const main = await page(file("index"));
  return entry === "." ? main : (await page(file("index"), file(entry.slice(2)))) - main;
}
