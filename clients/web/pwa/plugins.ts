/** The plugins of the build: a page that paints before its code, a service worker, and compressed files. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import type { Plugin, Rolldown } from "vite";

/** The types of files that compression makes smaller. */
const TEXT_TYPES = new Set([".html", ".js", ".css", ".svg", ".json", ".webmanifest"]);
/** Smaller files fit in one packet anyway. */
const MIN_COMPRESSED_BYTES = 512;
/** Large files that few visits need. The service worker keeps them after their first use. */
const ON_DEMAND = /^assets\/gemoji-/;

/**
 * Moves the style sheet of index.html behind its static shell, because a style sheet in the head delays the first paint. The code runs
 * only when the style sheet is loaded, so the app itself never appears without its styles.
 */
export function stylesAfterShell(): Plugin {
  return {
    name: "tidings:styles-after-shell",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler: (html, { path }) => (path === "/index.html" ? moveStyles(html) : html),
    },
  };
}

/** Moves each style sheet of a page from its head to the end of its body. */
export function moveStyles(html: string): string {
  const links = html.match(/<link rel="stylesheet"[^>]*>/g) ?? [];
  const rest = links.reduce((text, link) => text.replace(link, ""), html);
  return rest.replace("</body>", () => `${links.join("")}</body>`);
}

/**
 * Writes the service worker with the list of the files of index.html and of the public folder. Its version changes with
 * any of them.
 */
export function serviceWorker(dir: string): Plugin {
  return {
    name: "tidings:service-worker",
    apply: "build",
    writeBundle(_options, bundle) {
      const others = filesOfOtherPages(bundle);
      const files = filesIn(dir).filter(
        (name) => !ON_DEMAND.test(name) && !others.has(name) && name !== "sw.js",
      );
      const hash = createHash("sha256");
      for (const name of files) hash.update(name).update(readFileSync(join(dir, name)));
      const addresses = files.map((name) => (name === "index.html" ? "/" : `/${name}`));
      const shell = JSON.stringify({ version: hash.digest("hex").slice(0, 16), files: addresses });
      const worker = readFileSync(new URL("worker.js", import.meta.url), "utf8");
      writeFileSync(join(dir, "sw.js"), `const SHELL = ${shell};\n${worker}`);
    },
  };
}

/** The built files that index.html does not use, in a build of several pages. */
export function filesOfOtherPages(bundle: Rolldown.OutputBundle): Set<string> {
  const used = new Set(["index.html"]);
  const use = (name: string) => {
    const file = bundle[name];
    if (file === undefined || used.has(name)) return;
    used.add(name);
    if (file.type !== "chunk") return;
    const { importedAssets = [], importedCss = [] } = file.viteMetadata ?? {};
    for (const next of [...file.imports, ...file.dynamicImports, ...importedAssets, ...importedCss])
      use(next);
  };
  for (const [name, file] of Object.entries(bundle))
    if (file.type === "chunk" && file.facadeModuleId?.endsWith("/index.html")) use(name);
  return new Set(Object.keys(bundle).filter((name) => !used.has(name)));
}

/** Writes a `.br` and a `.gz` file beside each file that becomes smaller. Must be the last plugin. */
export function compressFiles(dir: string): Plugin {
  return {
    name: "tidings:compress-files",
    apply: "build",
    closeBundle: { order: "post", sequential: true, handler: () => compressFolder(dir) },
  };
}

/** Compresses the files of a folder. */
export function compressFolder(folder: string): void {
  for (const name of filesIn(folder)) {
    const content = readFileSync(join(folder, name));
    if (!TEXT_TYPES.has(extname(name)) || content.length < MIN_COMPRESSED_BYTES) continue;
    writeFileSync(join(folder, `${name}.br`), brotliCompressSync(content));
    writeFileSync(join(folder, `${name}.gz`), gzipSync(content, { level: 9 }));
  }
}

/** The files of a folder and its folders, sorted by path. */
function filesIn(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && !/\.(br|gz)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}
