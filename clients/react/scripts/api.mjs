// Generates the reference of all packages in docs/clients/api/ from the comments in their sources, one page per entry
// point. An argument names another folder for the pages.
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Application, Converter } from "typedoc";

const clients = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const out = resolve(process.argv[2] ?? resolve(clients, "../docs/clients/api"));

/** The entry points by their name in the reference. */
const entries = {
  "@tidings/client": resolve(clients, "ts/src/index.ts"),
  "@tidings/client/changes": resolve(clients, "ts/src/changes.ts"),
  "@tidings/client/drafts": resolve(clients, "ts/src/drafts.ts"),
  "@tidings/client/files": resolve(clients, "ts/src/files.ts"),
  "@tidings/client/http": resolve(clients, "ts/src/http.ts"),
  "@tidings/client/live": resolve(clients, "ts/src/live.ts"),
  "@tidings/client/offline": resolve(clients, "ts/src/offline.ts"),
  "@tidings/client/polls": resolve(clients, "ts/src/polls.ts"),
  "@tidings/client/push": resolve(clients, "ts/src/push.ts"),
  "@tidings/client/storage": resolve(clients, "ts/src/storage.ts"),
  "@tidings/client/testing": resolve(clients, "ts/src/testing.ts"),
  "@tidings/react": resolve(clients, "react/src/index.ts"),
  "@tidings/react-ui": resolve(clients, "react-ui/src/index.ts"),
  "@tidings/react-native": resolve(clients, "react-native/src/index.ts"),
  "@tidings/solid": resolve(clients, "solid/src/index.ts"),
  "@tidings/svelte": resolve(clients, "svelte/src/index.ts"),
  "@tidings/vue": resolve(clients, "vue/src/index.ts"),
};

const app = await Application.bootstrapWithPlugins({
  name: "Reference",
  entryPoints: Object.values(entries),
  tsconfig: resolve(clients, "react/tsconfig.api.json"),
  plugin: ["typedoc-plugin-markdown"],
  readme: "none",
  disableSources: true,
  excludeInternal: true,
  excludePrivate: true,
  treatWarningsAsErrors: true,
  validation: { notExported: false, invalidLink: true, notDocumented: false },
  outputs: [{ name: "markdown", path: out }],
  // Options of the markdown plugin.
  entryFileName: "README",
  outputFileStrategy: "modules",
  // Types come before classes, so that the type `Room` and the method `room` do not get the same anchor.
  groupOrder: ["Functions", "Interfaces", "Type Aliases", "Classes", "*"],
  kindSortOrder: [
    "Module",
    "Function",
    "Interface",
    "TypeAlias",
    "Class",
    "Constructor",
    "Property",
    "Accessor",
    "Method",
  ],
  hidePageHeader: true,
  hideBreadcrumbs: true,
  useCodeBlocks: true,
  parametersFormat: "table",
  interfacePropertiesFormat: "table",
  classPropertiesFormat: "table",
  typeAliasPropertiesFormat: "table",
  enumMembersFormat: "table",
  tableColumnSettings: { hideModifiers: true, hideDefaults: true, hideInherited: true, hideOverrides: true },
});

app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
  for (const module of project.children ?? []) {
    // The name is like `ts/src/live` or `react/src`.
    const [folder, , entry = "index"] = module.name.replace(/\/index$/, "").split("/");
    const file = resolve(clients, folder, "src", `${entry}.ts`);
    const name = Object.keys(entries).find((key) => entries[key] === file);
    if (name !== undefined) module.name = name;
  }
});

const project = await app.convert();
if (project === undefined) process.exit(1);
await app.generateOutputs(project);
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
