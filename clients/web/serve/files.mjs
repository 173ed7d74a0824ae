import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { extname, join, sep } from "node:path";

const MEDIA_TYPES = new Map([
  [".html", "text/html; charset=utf-8"],
  [".js", "text/javascript; charset=utf-8"],
  [".css", "text/css; charset=utf-8"],
  [".svg", "image/svg+xml"],
  [".png", "image/png"],
  [".json", "application/json"],
  [".webmanifest", "application/manifest+json"],
  [".txt", "text/plain; charset=utf-8"],
]);

/**
 * Finds the file in the folder for the path of a request.
 * @param {string} root an absolute path
 * @param {string} pathname percent-encoded, as in the request
 * @returns {string | undefined} undefined when the path is malformed or leaves the folder
 */
export function resolveInside(root, pathname) {
  let path;
  try {
    path = decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
  if (path.includes("\0") || path.includes("\\") || path.split("/").includes("..")) return undefined;
  const file = join(root, path);
  return file === root || file.startsWith(root.endsWith(sep) ? root : root + sep) ? file : undefined;
}

/**
 * Chooses how to send a file, from the header `Accept-Encoding` of the request.
 * @param {string | undefined} header
 * @returns {("br" | "gzip")[]} the compressions that the client accepts, the better one first
 */
export function acceptedEncodings(header) {
  const weights = new Map(
    (header ?? "").split(",").map((part) => {
      const [name = "", ...parameters] = part.split(";").map((text) => text.trim().toLowerCase());
      const weight = parameters.find((parameter) => parameter.startsWith("q="));
      return [name, weight === undefined ? 1 : Number(weight.slice(2)) || 0];
    }),
  );
  const weightOf = (/** @type {string} */ name) => weights.get(name) ?? weights.get("*") ?? 0;
  return /** @type {const} */ (["br", "gzip"]).filter((name) => weightOf(name) > 0);
}

/**
 * Returns the sources for a content security policy that permit the inline scripts and styles of a page.
 * @param {string} html
 * @returns {{scripts: string[], styles: string[]}}
 */
export function inlineSources(html) {
  const hashesOf = (/** @type {RegExp} */ pattern) =>
    [...html.matchAll(pattern)].map(
      ([, text = ""]) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`,
    );
  return {
    scripts: hashesOf(/<script>([\s\S]*?)<\/script>/g),
    styles: hashesOf(/<style>([\s\S]*?)<\/style>/g),
  };
}

/**
 * Finds the smallest form of a file that the client accepts.
 * @param {string} file
 * @param {string | undefined} acceptEncoding
 * @returns {Promise<{path: string, size: number, encoding?: string} | undefined>} undefined if there is no such file
 */
async function findForm(file, acceptEncoding) {
  for (const encoding of [...acceptedEncodings(acceptEncoding), undefined]) {
    const path = encoding === undefined ? file : `${file}.${encoding === "br" ? "br" : "gz"}`;
    const stats = await stat(path).catch(() => undefined);
    if (stats?.isFile()) return { path, size: stats.size, ...(encoding && { encoding }) };
  }
  return undefined;
}

/**
 * Answers with a file of the built demo. Paths without an extension get `index.html`.
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 * @param {{root: string, pathname: string, pageHeaders: (html: string) => Record<string, string>}} options
 * @returns {Promise<boolean>} false when the file does not exist
 */
export async function sendFile(request, response, { root, pathname, pageHeaders }) {
  const requestedPath = resolveInside(root, pathname);
  if (requestedPath === undefined) return false;
  const isPage = extname(requestedPath) === "";
  const file = isPage ? join(root, "index.html") : requestedPath;
  const form = await findForm(file, request.headers["accept-encoding"]);
  if (form === undefined) return false;
  const type = MEDIA_TYPES.get(extname(file)) ?? "application/octet-stream";
  // The name of an asset contains a hash of its content, so browsers may keep the asset.
  const isHashed = pathname.startsWith("/assets/");
  response.writeHead(200, {
    "Content-Type": type,
    "Content-Length": form.size,
    Vary: "Accept-Encoding",
    ...(form.encoding && { "Content-Encoding": form.encoding }),
    "Cache-Control": isHashed ? "public, max-age=31536000, immutable" : "no-cache",
    ...(type.startsWith("text/html") ? pageHeaders(await readFile(file, "utf8")) : {}),
  });
  if (request.method === "HEAD") response.end();
  else
    createReadStream(form.path)
      .on("error", () => response.destroy())
      .pipe(response);
  return true;
}
