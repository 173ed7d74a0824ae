/**
 * Gateways and HTTP behind one origin, like a reverse proxy in production: the paths of gateways and
 * WebSockets go to the gateway, all other paths to persistence.
 */
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";

const OF_GATEWAYS = /^\/v1\/(ws|poll|transport)\b/;

/** A running proxy. */
export interface OneOrigin {
  readonly origin: string;
  close(): void;
}

/** Starts a proxy in front of these two. */
export async function oneOrigin(gateway: string, persistence: string): Promise<OneOrigin> {
  const target = (path = "") => new URL(path, OF_GATEWAYS.test(path) ? gateway : persistence);
  const server = createServer((asked, answer) => {
    const onwards = request(
      target(asked.url),
      { method: asked.method, headers: asked.headers },
      (answered) => {
        answer.writeHead(answered.statusCode ?? 502, answered.headers);
        answered.pipe(answer);
      },
    );
    onwards.on("error", () => answer.destroy());
    asked.pipe(onwards);
  });
  server.on("upgrade", (asked, socket, head) => {
    const { hostname, port } = target(asked.url);
    const onwards = connect(Number(port), hostname, () => {
      const headers = Object.entries(asked.headers).map(([name, value]) => `${name}: ${value}`);
      onwards.write(`GET ${asked.url} HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n`);
      onwards.write(head);
      onwards.pipe(socket).pipe(onwards);
    });
    onwards.on("error", () => socket.destroy());
    socket.on("error", () => onwards.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
