// Bundles a page for browsers with Rollup: `node rollup.mjs PAGE FOLDER`. Fails on a warning.
import commonjs from "@rollup/plugin-commonjs";
import { nodeResolve } from "@rollup/plugin-node-resolve";
import { rollup } from "rollup";

const [input, dir] = process.argv.slice(2);
const bundle = await rollup({
  input,
  plugins: [nodeResolve({ browser: true }), commonjs()],
  onwarn(warning) {
    // Rollup drops "use client", which only frameworks with a server need, and says so for each package.
    if (warning.code === "MODULE_LEVEL_DIRECTIVE") return;
    process.stderr.write(`${warning.message}\n`);
    process.exitCode = 1;
  },
});
await bundle.write({ dir, format: "esm" });
await bundle.close();
