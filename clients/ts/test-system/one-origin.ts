/**
 * Gateways and HTTP behind one origin, like a reverse proxy in production: the paths of gateways and
 * WebSockets go to the gateway, all other paths to persistence.
 */
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";

const GATEWAY_PATHS = /^\/v1\/(ws|poll|transport)\b/;

/** A running proxy. */
export interface OneOrigin {
  readonly origin: string;
  close(): void;
}

/** Starts a proxy in front of a gateway and a persistence node. */
export async function startOneOrigin(gateway: string, persistence: string): Promise<OneOrigin> {
  const targetUrl = (path = "") => new URL(path, GATEWAY_PATHS.test(path) ? gateway : persistence);
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
