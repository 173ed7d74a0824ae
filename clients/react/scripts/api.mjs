// Builds the reference of all packages from the comments in their sources, into clients/artefacts/api/, with a page for
// each entry point of tsconfig.api.json. An argument names another folder for the pages.
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Application, Converter } from "typedoc";
import ts from "typescript";

const react = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const clients = resolve(react, "..");
const out = resolve(process.argv[2] ?? resolve(clients, "artefacts/api"));
const tsconfig = resolve(react, "tsconfig.api.json");
const { files } = ts.readConfigFile(tsconfig, ts.sys.readFile).config;

const app = await Application.bootstrap({
  name: "Reference",
  entryPoints: files.map((file) => resolve(react, file)),
  tsconfig,
  readme: "none",
  disableSources: true,
  excludeInternal: true,
  excludePrivate: true,
  treatWarningsAsErrors: true,
  validation: { notExported: false, invalidLink: true, notDocumented: false },
  outputs: [{ name: "html", path: out }],
});

app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
  for (const module of project.children ?? []) {
    // The name is like `ts/src/live` or `react/src`.
    const [folder, , entry] = module.name.replace(/\/index$/, "").split("/");
    const { name } = JSON.parse(readFileSync(resolve(clients, folder, "package.json"), "utf8"));
    module.name = entry === undefined ? name : `${name}/${entry}`;
  }
});

const project = await app.convert();
if (project === undefined) process.exit(1);
app.validate(project);
await app.generateOutputs(project);
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
