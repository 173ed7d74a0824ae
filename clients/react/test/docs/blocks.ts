import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { sharingHost } from "./exported.js";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../../../..");

/** A block of code in a page, with the number of its first line. */
export interface Block {
  readonly page: string;
  readonly line: number;
  readonly language: "ts" | "tsx";
  readonly code: string;
}

/** The folders of the published packages. */
export const packages = ["ts", "react", "react-ui", "react-native", "solid", "svelte", "vue"];

/** The pages about the kit, as paths from the root of the repository. */
export function pages(): string[] {
  const guides = readdirSync(join(root, "docs/clients")).filter((name) => name.endsWith(".md"));
  const readmes = ["clients/README.md", ...packages.map((name) => `clients/${name}/README.md`)];
  return [...readmes, ...guides.map((name) => `docs/clients/${name}`)];
}

/** All ```ts and ```tsx blocks of a page. */
export function blocksOf(page: string, text = readFileSync(join(root, page), "utf8")): Block[] {
  const blocks: Block[] = [];
  for (const match of text.matchAll(/^```(tsx?)\n([\s\S]*?)^```$/gm)) {
    const line = text.slice(0, match.index).split("\n").length + 1;
    blocks.push({ page, line, language: match[1] as "ts" | "tsx", code: match[2] ?? "" });
  }
  return blocks;
}

/** Compiles each block as a separate module against the built packages. Returns the errors as `page:line: …`. */
export function compile(blocks: readonly Block[]): string[] {
  const files = new Map(blocks.map((block, at) => [join(here, `block-${at}.${block.language}`), block]));
  const prelude = join(here, "prelude.d.ts");
  const read = ts.readConfigFile(resolve(here, "../../tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(read.config, ts.sys, resolve(here, "../.."));
  const settings: ts.CompilerOptions = {
    ...options,
    noEmit: true,
    moduleDetection: ts.ModuleDetectionKind.Force,
  };
  const host = sharingHost(settings);
  const onDisk = { readFile: host.readFile, fileExists: host.fileExists, getSourceFile: host.getSourceFile };
  host.fileExists = (name) => files.has(name) || onDisk.fileExists(name);
  host.readFile = (name) => files.get(name)?.code ?? onDisk.readFile(name);
  host.getSourceFile = (name, target, ...rest) => {
    const block = files.get(name);
    if (block === undefined) return onDisk.getSourceFile(name, target, ...rest);
    return ts.createSourceFile(name, block.code, target);
  };
  const program = ts.createProgram([prelude, ...files.keys()], settings, host);
  return ts.getPreEmitDiagnostics(program).map((found) => describeError(found, files));
}

function describeError(found: ts.Diagnostic, files: ReadonlyMap<string, Block>): string {
  const text = ts.flattenDiagnosticMessageText(found.messageText, "\n");
  if (found.file === undefined) return text;
  const { line } = found.file.getLineAndCharacterOfPosition(found.start ?? 0);
  const block = files.get(found.file.fileName);
  if (block === undefined) return `${relative(root, found.file.fileName)}:${line + 1}: ${text}`;
  return `${block.page}:${block.line + line}: ${text}`;
}
