// Forwards requests to the services, so that all of them have the origin of the page. The reverse proxy does this in
// production.
import { request } from "node:http";

/**
 * The paths of the companion programs, as in deploy/haproxy/haproxy.cfg.
 * @type {Readonly<Record<string, RegExp>>}
 */
const PATHS = {
  files: /^\/v1\/(rooms\/[^/]+\/(messages\/[^/]+\/)?)?files(\/|$)/,
  push: /^\/v1\/(push|me\/devices|me\/mutes)(\/|$)/,
  webhooks: /^\/v1\/webhooks(\/|$)/,
};

/** The names of the companion programs. */
export const PROGRAMS = Object.keys(PATHS);

/**
 * The origin that serves a path.
 * @param {string} pathname
 * @param {Readonly<Record<string, string>>} programs the origins of the programs that run, by their names
 * @param {string} persistence
 */
export function originOf(pathname, programs, persistence) {
  const name = PROGRAMS.find((program) => programs[program] && PATHS[program]?.test(pathname));
  return (name && programs[name]) || persistence;
}

/**
 * Sends a request to an origin and its answer to the client. Calls `fail` if there is no answer.
 * @param {import("node:http").IncomingMessage} incoming
 * @param {import("node:http").ServerResponse} response
 * @param {string} origin
 * @param {() => void} fail
 */
export function forward(incoming, response, origin, fail) {
  const { method, headers } = incoming;
  /** @type {import("node:http").IncomingMessage | undefined} */
  let received;
  // Each request has a connection of its own: the service may be closing an idle one.
  const options = { method, headers, agent: false };
  const forwarded = request(new URL(incoming.url ?? "/", origin), options, (answer) => {
    received = answer;
    // Removes the headers of this server's own answers, so that only those of the service remain.
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
    answer.pipe(response);
    answer.on("error", () => response.destroy());
  });
  forwarded.on("error", () => {
    if (!response.headersSent) fail();
    // A service may answer before it has read the whole request. Its answer is then complete.
    else if (!received?.complete) response.destroy();
  });
  // A client that goes away ends its request at the service.
  response.on("close", () => {
    if (!response.writableFinished) forwarded.destroy();
  });
  incoming.pipe(forwarded);
}
