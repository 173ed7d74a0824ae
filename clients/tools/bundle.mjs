// Replaces ts/dist/browser.js by one minified file with all of the kit, for pages without a bundler. Run it after tsc.
import { join } from "node:path";
import { rolldown } from "rolldown";
import { root } from "./pack.mjs";

const file = join(root, "ts/dist/browser.js");
const bundle = await rolldown({ input: file });
await bundle.write({ file, format: "esm", minify: true, sourcemap: true, codeSplitting: false });
