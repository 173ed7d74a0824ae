// Bundles hermes/main.js with Metro and the settings of Expo, for Hermes: `node hermes/bundle.cjs OUT` in this app.
const { resolve } = require("node:path");
const { getDefaultConfig } = require("expo/metro-config");
const { runBuild } = require("metro");

const config = getDefaultConfig(resolve(__dirname, ".."));
const serializer = {
  ...config.serializer,
  // Expo's serializer writes the files of an export, not one script.
  customSerializer: undefined,
  // React Native's setup needs native modules, which Hermes alone does not have. hermes/globals.js replaces it.
  getModulesRunBeforeMainModule: () => [],
};
const build = {
  entry: "hermes/main.js",
  out: process.argv[2],
  platform: "ios",
  dev: false,
  minify: false,
  customTransformOptions: { engine: "hermes" },
};
runBuild({ ...config, serializer }, build).catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
