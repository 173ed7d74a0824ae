import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { extname, join, sep } from "node:path";

const TYPES = new Map([
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
 * Answers with a file of the built demo. Paths without an extension get `index.html`.
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 * @param {{root: string, pathname: string, page: Record<string, string>}} options `page`: the headers of the page
 * @returns {Promise<boolean>} false when the file does not exist
 */
export async function sendFile(request, response, { root, pathname, page }) {
  const requested = resolveInside(root, pathname);
  if (requested === undefined) return false;
  const isPage = extname(requested) === "";
  const file = isPage ? join(root, "index.html") : requested;
  const found = await stat(file).catch(() => undefined);
  if (!found?.isFile()) return false;
  const type = TYPES.get(extname(file)) ?? "application/octet-stream";
  // The name of an asset contains a hash of its content, so browsers may keep the asset.
  const hashed = pathname.startsWith("/assets/");
  response.writeHead(200, {
    "Content-Type": type,
    "Content-Length": found.size,
    "Cache-Control": hashed ? "public, max-age=31536000, immutable" : "no-cache",
    ...(type.startsWith("text/html") ? page : {}),
  });
  if (request.method === "HEAD") response.end();
  else
    createReadStream(file)
      .on("error", () => response.destroy())
      .pipe(response);
  return true;
}
