import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const clients = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

/** The entry points whose comments are the reference. */
export const entries = [resolve(clients, "ts/src/index.ts"), resolve(clients, "react/src/index.ts")];

const parsed = new Map<string, ts.SourceFile | undefined>();

/** Reads files from the disk, each once: the programs of one test file share their libraries. They need equal options. */
export function sharingHost(options: ts.CompilerOptions): ts.CompilerHost {
  const host = ts.createCompilerHost(options);
  const read = host.getSourceFile;
  host.getSourceFile = (name, ...rest) => {
    if (!parsed.has(name)) parsed.set(name, read(name, ...rest));
    return parsed.get(name);
  };
  return host;
}

/**
 * What the entry points export without a comment: names, and `Name.method` of what can be called on a class or an
 * interface. Properties may go without: many say all in their name. So may what is named `…Like`: the shape of something
 * that is documented elsewhere.
 */
export function undocumented(files: readonly string[] = entries): { looked: number; bare: string[] } {
  const read = ts.readConfigFile(resolve(clients, "react/tsconfig.api.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(read.config, ts.sys, resolve(clients, "react"));
  const program = ts.createProgram(files, options, sharingHost(options));
  const checker = program.getTypeChecker();
  const bare: string[] = [];
  let looked = 0;
  const look = (name: string, symbol: ts.Symbol) => {
    looked += 1;
    if (symbol.getDocumentationComment(checker).length === 0) bare.push(name);
  };
  for (const file of files) {
    const source = program.getSourceFile(file);
    const module = source && checker.getSymbolAtLocation(source);
    if (module === undefined) throw new Error(`${file} exports nothing`);
    for (const found of checker.getExportsOfModule(module)) {
      const symbol = found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found;
      look(found.name, symbol);
      if (found.name.endsWith("Like")) continue;
      for (const [name, member] of symbol.members ?? []) {
        if (isCallable(member)) look(`${found.name}.${name}`, member);
      }
    }
  }
  return { looked, bare };
}

/** Methods, and properties that are functions, unless they are private. */
function isCallable(member: ts.Symbol): boolean {
  const at = member.valueDeclaration;
  if (at === undefined) return false;
  if (ts.getCombinedModifierFlags(at) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) return false;
  if (ts.isMethodDeclaration(at) && ts.isPrivateIdentifier(at.name)) return false;
  if (ts.isMethodDeclaration(at) || ts.isMethodSignature(at)) return true;
  return ts.isPropertySignature(at) && at.type !== undefined && ts.isFunctionTypeNode(at.type);
}
