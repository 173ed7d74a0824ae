// Writes two files of ts/dist again, after tsc. browser.js becomes one minified file with all of the kit, for pages
// without a bundler. files/digest.js takes in the SHA-256 of @noble/hashes, with its licence, so that the package needs
// no other package.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";
import { root } from "./pack.mjs";

const licence = readFileSync(join(root, "node_modules/@noble/hashes/LICENSE"), "utf8").trim();
const banner = `/*! Contains @noble/hashes.\n\n${licence}\n*/`;

async function bundle(name, minify) {
  const file = join(root, "ts/dist", name);
  const made = await rolldown({ input: file });
  await made.write({
    file,
    format: "esm",
    minify,
    sourcemap: true,
    codeSplitting: false,
    postBanner: banner,
  });
}

await bundle("files/digest.js", false);
await bundle("browser.js", true);
