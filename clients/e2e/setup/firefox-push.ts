/**
 * The push service of Firefox in the tests, because a test must not use that of Mozilla. Firefox itself decrypts the
 * messages. The protocol is that of autopush (https://mozilla-push-service.readthedocs.io/en/latest/design/).
 */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";

/** A message of Firefox. */
interface BrowserMessage {
  readonly messageType: string;
  readonly channelID: string;
}

/** A running push service. */
export interface FirefoxPush {
  /** The settings of a Firefox that uses it, and that shows notifications itself instead of the desktop. */
  readonly preferences: Readonly<Record<string, string | boolean>>;
  close(): void;
}

/** Starts the service on a free port. */
export async function startFirefoxPush(): Promise<FirefoxPush> {
  /** The connection of each subscription. Its id is the path of the endpoint. */
  const subscriptions = new Map<string, WebSocket>();
  const server = createServer((request, response) => {
    const channelID = request.url?.slice(1) ?? "";
    readBody(request).then(
      (body) => {
        const browser = subscriptions.get(channelID);
        const headers = { encoding: request.headers["content-encoding"] };
        const data = body.toString("base64url");
        const message = { messageType: "notification", channelID, version: randomUUID(), data, headers };
        browser?.send(JSON.stringify(message));
        response.writeHead(browser ? 201 : 410).end();
      },
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (browser) => {
    browser.on("message", (text) => {
      const { messageType, channelID } = JSON.parse(String(text)) as BrowserMessage;
      const answer = (fields: object) =>
        browser.send(JSON.stringify({ messageType, status: 200, ...fields }));
      if (messageType === "hello") answer({ uaid: randomUUID(), use_webpush: true, broadcasts: {} });
      if (messageType === "register") {
        subscriptions.set(channelID, browser);
        answer({ channelID, pushEndpoint: `http://${address}/${channelID}` });
      }
      if (messageType === "unregister") {
        subscriptions.delete(channelID);
        answer({ channelID });
      }
    });
  });
  const preferences = {
    // Firefox switches this off while a program controls it.
    "dom.push.connection.enabled": true,
    "dom.push.serverURL": `ws://${address}/`,
    "dom.push.testing.allowInsecureServerURL": true,
    "alerts.useSystemBackend": false,
  };
  const close = () => {
    sockets.close();
    for (const client of sockets.clients) client.terminate();
    server.close();
    server.closeAllConnections();
  };
  return { preferences, close };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
