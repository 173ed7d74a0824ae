/**
 * All services behind one origin, like a reverse proxy in production: the paths of gateways and WebSockets go to the
 * gateway, those of files and push to their services if there are any, all other paths to persistence.
 */
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { SystemAddresses } from "./stack.js";

const GATEWAY_PATHS = /^\/v1\/(ws|poll|transport)\b/;
// The paths of both services are as in deploy/haproxy/haproxy.cfg.
const FILES_PATHS = /^\/v1\/(rooms\/[^/]+\/(messages\/[^/]+\/)?)?files(\/|\?|$)/;

const PUSH_PATHS = /^\/v1\/(push|me\/devices|me\/mutes)(\/|\?|$)/;

/** A running proxy. */
export interface OneOrigin {
  readonly origin: string;
  close(): void;
}

/** Starts a proxy in front of a gateway, a persistence node, and the services of files and push. */
export async function startOneOrigin(
  gateway: string,
  persistence: string,
  { files, push }: Partial<Pick<SystemAddresses, "files" | "push">> = {},
): Promise<OneOrigin> {
  const serviceOf = (path: string) => {
    if (GATEWAY_PATHS.test(path)) return gateway;
    if (files && FILES_PATHS.test(path)) return files;
    return push && PUSH_PATHS.test(path) ? push : persistence;
  };
  const targetUrl = (path = "") => new URL(path, serviceOf(path));
  const server = createServer((incoming, answer) => {
    const forwarded = request(
      targetUrl(incoming.url),
      { method: incoming.method, headers: incoming.headers },
      (upstreamAnswer) => {
        answer.writeHead(upstreamAnswer.statusCode ?? 502, upstreamAnswer.headers);
        upstreamAnswer.pipe(answer);
      },
    );
    forwarded.on("error", () => answer.destroy());
    // A client that goes away ends its request at the service.
    answer.on("close", () => {
      if (!answer.writableFinished) forwarded.destroy();
    });
    incoming.pipe(forwarded);
  });
  server.on("upgrade", (incoming, socket, head) => {
    const { hostname, port } = targetUrl(incoming.url);
    const forwarded = connect(Number(port), hostname, () => {
      const headers = Object.entries(incoming.headers).map(([name, value]) => `${name}: ${value}`);
      forwarded.write(`GET ${incoming.url} HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n`);
      forwarded.write(head);
      forwarded.pipe(socket).pipe(forwarded);
    });
    forwarded.on("error", () => socket.destroy());
    socket.on("error", () => forwarded.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
