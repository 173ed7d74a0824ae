import { createServer } from "node:http";
import { inlineSources, sendFile } from "./files.mjs";
import { forward, originOf } from "./forward.mjs";
import { cleanName, MAX_NAME_LENGTH, userIdOf } from "./names.mjs";
import { signToken } from "./token.mjs";

const MAX_BODY_BYTES = 4096;
/**
 * The values of `Host` that name this machine. Another name can lead to this machine by DNS rebinding, and a page of that
 * name must not get a token.
 */
const LOCAL_HOST = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i;

/**
 * Makes the content security policy of the page. Only the page's own files, the inline code and styles that the built
 * page has, connections to the chat, files from its stores, and pictures of users from `pictures` are permitted.
 * @param {readonly string[]} gateways http or https origins
 * @param {readonly string[]} persistence origins
 * @param {readonly string[]} files the origins from which files are downloaded; empty if the servers have no files
 * @param {string} html the built page
 * @param {readonly string[]} pictures the origins of the pictures of users
 */
export function contentSecurityPolicy(gateways, persistence, files, html, pictures = []) {
  const { scripts, styles } = inlineSources(html);
  const sockets = gateways.map((origin) => origin.replace(/^http/, "ws"));
  // Previews of files that are being uploaded have addresses of the scheme `blob`.
  const media = files.length > 0 ? ["blob:", ...new Set(files)] : [];
  const connect = ["'self'", ...new Set([...gateways, ...sockets, ...persistence])].join(" ");
  return [
    "default-src 'none'",
    ["script-src 'self'", ...scripts].join(" "),
    ["style-src 'self'", ...styles].join(" "),
    "worker-src 'self'",
    ["img-src 'self' data:", ...new Set([...pictures, ...media])].join(" "),
    ...(media.length > 0 ? [["media-src", ...media].join(" ")] : []),
    `connect-src ${connect}`,
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");
}

/**
 * @param {import("node:http").ServerResponse} response
 * @param {number} status
 * @param {string} type
 * @param {object} value
 */
function sendJson(response, status, type, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    "Content-Type": type,
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

/**
 * Sends a problem document of RFC 9457.
 * @param {import("node:http").ServerResponse} response
 * @param {number} status
 * @param {string} code
 * @param {string} detail
 */
function sendProblem(response, status, code, detail) {
  sendJson(response, status, "application/problem+json", {
    type: "about:blank",
    title: code,
    status,
    code,
    detail,
  });
}

/**
 * @param {import("node:http").IncomingMessage} request
 * @returns {Promise<unknown>} undefined when the body is too long or is not JSON
 */
async function readJson(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  if (size > MAX_BODY_BYTES) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    return undefined;
  }
}

/**
 * Creates the demo's server, which serves the built page and its configuration, and gives a token for any name. With
 * `programs`, the origins of the companion programs by their names, it also forwards the API to all services. `push`
 * says whether the servers have push. `pictures` are the origins of the pictures of users.
 * @param {{root: string, secret: string, gateways: string[], persistence: string[], files?: string[], pictures?: string[], programs?: Record<string, string>, push?: boolean, now?: () => number}} options
 */
export function createApp({
  root,
  secret,
  gateways,
  persistence,
  files = [],
  pictures = [],
  programs = {},
  push = programs.push !== undefined,
  now = Date.now,
}) {
  const forwards = Object.keys(programs).length > 0;
  const stores = programs.files ? [...files, "'self'"] : files;
  let forwarded = 0;
  const pageHeaders = (/** @type {string} */ html) => ({
    "Content-Security-Policy": contentSecurityPolicy(
      gateways,
      forwards ? [] : persistence,
      stores,
      html,
      pictures,
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
  });

  /** @type {(request: import("node:http").IncomingMessage, response: import("node:http").ServerResponse) => Promise<void>} */
  const handle = async (request, response) => {
    response.setHeader("X-Content-Type-Options", "nosniff");
    const pathname = (request.url ?? "/").split("?", 1)[0] ?? "/";
    if (forwards && pathname.startsWith("/v1/")) {
      const next = persistence[forwarded++ % persistence.length] ?? "";
      const fail = () => sendProblem(response, 502, "unavailable", "This service does not answer.");
      return forward(request, response, originOf(pathname, programs, next), fail);
    }
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (pathname === "/dev/token") {
      if (request.method !== "POST") return notAllowed(response, "POST");
      if (!LOCAL_HOST.test(request.headers.host ?? ""))
        return sendProblem(response, 403, "forbidden", "This address accepts only a local Host.");
      const body = await readJson(request);
      const name = cleanName(body && typeof body === "object" ? Reflect.get(body, "name") : undefined);
      if (name === undefined) {
        return sendProblem(
          response,
          400,
          "bad_request",
          `A name must have 1 to ${MAX_NAME_LENGTH} characters.`,
        );
      }
      const user = userIdOf(name);
      const token = signToken(secret, { sub: user, name }, now());
      return sendJson(response, 200, "application/json", { token, user, name });
    }
    if (!isRead) return notAllowed(response, "GET, HEAD");
    if (pathname === "/healthz") return sendJson(response, 200, "application/json", { status: "ok" });
    if (pathname === "/dev/config") {
      // The origin by which the client has reached this server.
      const http = forwards ? [`http://${request.headers.host}`] : persistence;
      const features = { ...(stores.length > 0 && { files: true }), ...(push && { push }) };
      const config = { gateways, persistence: http, ...features, ...(pictures.length > 0 && { pictures }) };
      return sendJson(response, 200, "application/json", config);
    }
    if (!(await sendFile(request, response, { root, pathname, pageHeaders }))) {
      sendProblem(response, 404, "not_found", "This file does not exist.");
    }
  };

  return createServer((request, response) => {
    handle(request, response).catch(() => {
      if (response.headersSent) response.destroy();
      else sendProblem(response, 500, "internal", "The server had an internal error.");
    });
  });
}

/**
 * @param {import("node:http").ServerResponse} response
 * @param {string} allow
 */
function notAllowed(response, allow) {
  response.setHeader("Allow", allow);
  sendProblem(response, 405, "bad_request", `This address accepts only ${allow}.`);
}
