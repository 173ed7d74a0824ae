import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const clients = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

const config = ts.readConfigFile(resolve(clients, "react/tsconfig.api.json"), ts.sys.readFile).config;
const { fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, resolve(clients, "react"));

/** The entry points that the reference documents. */
export const entries: readonly string[] = fileNames;

const parsed = new Map<string, ts.SourceFile | undefined>();

/** A compiler host that parses each file once. Programs in one test file share it, and must use the same options. */
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
 * Finds exports without a comment: their names, and `Name.method` for methods of a class or an interface. Properties
 * need no comment, because many names explain themselves. Methods of types named `…Like` need no comment either,
 * because such a type describes an object that is documented elsewhere.
 */
export function undocumented(files: readonly string[] = entries): { checked: number; missing: string[] } {
  const program = ts.createProgram(files, options, sharingHost(options));
  const checker = program.getTypeChecker();
  const missing: string[] = [];
  let checked = 0;
  const check = (name: string, symbol: ts.Symbol) => {
    checked += 1;
    if (symbol.getDocumentationComment(checker).length === 0) missing.push(name);
  };
  for (const file of files) {
    const source = program.getSourceFile(file);
    const module = source && checker.getSymbolAtLocation(source);
    if (module === undefined) throw new Error(`${file} exports nothing`);
    for (const found of checker.getExportsOfModule(module)) {
      const symbol = found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found;
      check(found.name, symbol);
      if (found.name.endsWith("Like")) continue;
      for (const [name, member] of symbol.members ?? []) {
        if (isCallable(member)) check(`${found.name}.${name}`, member);
      }
    }
  }
  return { checked, missing };
}

/**
 * Finds fields with names in snake_case in the exported types, as `Type.field`, also in nested objects. The objects and
 * frames of the protocol keep the names of the wire, so they are not searched.
 */
export function snakeCase(files: readonly string[] = entries): { checked: number; found: string[] } {
  const program = ts.createProgram(files, options, sharingHost(options));
  const checker = program.getTypeChecker();
  const found: string[] = [];
  let checked = 0;
  for (const file of files) {
    const source = program.getSourceFile(file);
    const module = source && checker.getSymbolAtLocation(source);
    if (module === undefined) throw new Error(`${file} exports nothing`);
    for (const one of checker.getExportsOfModule(module)) {
      const symbol = one.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(one) : one;
      for (const declaration of symbol.declarations ?? []) {
        if (declaration.getSourceFile().fileName.includes("/protocol/")) continue;
        const visit = (node: ts.Node): void => {
          if (ts.isPropertySignature(node) || ts.isParameter(node) || ts.isMethodSignature(node)) {
            checked += 1;
            const name = node.name.getText();
            if (/[a-z]_[a-z]/.test(name)) found.push(`${one.name}.${name}`);
          }
          // The code of functions may use the names of the wire.
          if (!ts.isBlock(node)) ts.forEachChild(node, visit);
        };
        visit(declaration);
      }
    }
  }
  return { checked, found };
}

/** Whether a member is a public method, or a property that is a function. */
function isCallable(member: ts.Symbol): boolean {
  const at = member.valueDeclaration;
  if (at === undefined) return false;
  if (ts.getCombinedModifierFlags(at) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) return false;
  if (ts.isMethodDeclaration(at) && ts.isPrivateIdentifier(at.name)) return false;
  if (ts.isMethodDeclaration(at) || ts.isMethodSignature(at)) return true;
  return ts.isPropertySignature(at) && at.type !== undefined && ts.isFunctionTypeNode(at.type);
}
