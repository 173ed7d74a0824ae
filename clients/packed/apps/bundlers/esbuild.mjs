// Bundles a page for browsers with esbuild: `node esbuild.mjs PAGE FOLDER`. Fails on a warning.
import { build } from "esbuild";

const [page, outdir] = process.argv.slice(2);
const { warnings } = await build({
  entryPoints: [page],
  outdir,
  bundle: true,
  splitting: true,
  format: "esm",
  minify: true,
  platform: "browser",
  define: { "process.env.NODE_ENV": '"production"' },
});
if (warnings.length > 0) process.exitCode = 1;
