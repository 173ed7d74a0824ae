// Bundles a page for browsers with webpack: `node webpack.mjs PAGE FOLDER`. Fails on a warning.
import { promisify } from "node:util";
import webpack from "webpack";

const [entry, path] = process.argv.slice(2);
const stats = await promisify(webpack)({
  mode: "production",
  target: "web",
  entry,
  output: { path, filename: "page.js", publicPath: "" },
  performance: { hints: false },
});
if (stats.hasErrors() || stats.hasWarnings()) {
  process.stderr.write(stats.toString());
  process.exitCode = 1;
}
