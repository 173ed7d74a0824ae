import { createServer } from "node:http";
import { sendFile } from "./files.mjs";
import { cleanName, NAME_LIMIT, userIdOf } from "./names.mjs";
import { signToken } from "./token.mjs";

const MAX_BODY_BYTES = 4096;

/**
 * Makes the content security policy of the page. Only the page's own files and connections to the chat are permitted.
 * @param {readonly string[]} gateways http or https origins
 * @param {readonly string[]} persistence origins
 */
export function contentSecurityPolicy(gateways, persistence) {
  const sockets = gateways.map((origin) => origin.replace(/^http/, "ws"));
  const connect = ["'self'", ...new Set([...gateways, ...sockets, ...persistence])].join(" ");
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
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
function send(response, status, type, value) {
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
function problem(response, status, code, detail) {
  send(response, status, "application/problem+json", {
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
  const pieces = [];
  let size = 0;
  for await (const piece of request) {
    size += piece.length;
    if (size <= MAX_BODY_BYTES) pieces.push(piece);
  }
  if (size > MAX_BODY_BYTES) return undefined;
  try {
    return JSON.parse(Buffer.concat(pieces).toString("utf8"));
  } catch {
    return undefined;
  }
}

/**
 * Creates the demo's server, which serves the built page and its configuration, and gives a token for any name.
 * @param {{root: string, secret: string, gateways: string[], persistence: string[], now?: () => number}} options
 */
export function createApp({ root, secret, gateways, persistence, now = Date.now }) {
  const page = {
    "Content-Security-Policy": contentSecurityPolicy(gateways, persistence),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
  };

  /** @type {(request: import("node:http").IncomingMessage, response: import("node:http").ServerResponse) => Promise<void>} */
  const answer = async (request, response) => {
    response.setHeader("X-Content-Type-Options", "nosniff");
    const pathname = (request.url ?? "/").split("?", 1)[0] ?? "/";
    const reads = request.method === "GET" || request.method === "HEAD";
    if (pathname === "/dev/token") {
      if (request.method !== "POST") return notAllowed(response, "POST");
      const body = await readJson(request);
      const name = cleanName(body && typeof body === "object" ? Reflect.get(body, "name") : undefined);
      if (name === undefined) {
        return problem(response, 400, "bad_request", `A name must have 1 to ${NAME_LIMIT} characters.`);
      }
      const user = userIdOf(name);
      const token = signToken(secret, { sub: user, name }, now());
      return send(response, 200, "application/json", { token, user, name });
    }
    if (!reads) return notAllowed(response, "GET, HEAD");
    if (pathname === "/healthz") return send(response, 200, "application/json", { status: "ok" });
    if (pathname === "/dev/config") {
      return send(response, 200, "application/json", { gateways, persistence });
    }
    if (!(await sendFile(request, response, { root, pathname, page }))) {
      problem(response, 404, "not_found", "This file does not exist.");
    }
  };

  return createServer((request, response) => {
    answer(request, response).catch(() => {
      if (response.headersSent) response.destroy();
      else problem(response, 500, "internal", "The server had an internal error.");
    });
  });
}

/**
 * @param {import("node:http").ServerResponse} response
 * @param {string} allow
 */
function notAllowed(response, allow) {
  response.setHeader("Allow", allow);
  problem(response, 405, "bad_request", `This address accepts only ${allow}.`);
}
