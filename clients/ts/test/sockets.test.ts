import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import WebSocket, { WebSocketServer } from "ws";
import { TidingsClient, type WebSocketConstructor } from "../src/index.js";
import { type Json, ScriptedServer, type Session } from "../src/testing.js";

/** The scripted server behind real sockets. */
async function serveModel(
  model: ScriptedServer,
): Promise<{ url: string; server: Server; sockets: WebSocketServer }> {
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const token = request.headers.authorization?.replace("Bearer ", "") ?? "";
    const body = text ? (JSON.parse(text) as Json) : undefined;
    const answer = await model.request(request.method ?? "GET", `http://x${request.url}`, token, body);
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(answer.body ? JSON.stringify(answer.body) : "");
  });
  const sockets = new WebSocketServer({ server, path: "/v1/ws", handleProtocols: () => "tidings.v1" });
  sockets.on("connection", (socket) => {
    const session: Session = {
      user: undefined,
      joined: new Set(),
      send: (frame) => socket.send(JSON.stringify(frame)),
      close: (code, reason) => socket.close(code, reason),
    };
    model.open(session);
    socket.on("message", (data) => model.frame(session, JSON.parse(String(data)) as Json));
    socket.on("close", () => model.closed(session));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, server, sockets };
}

const clients: TidingsClient[] = [];
const servers: { server: Server; sockets: WebSocketServer }[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  }
});

async function startClient(model: ScriptedServer) {
  const served = await serveModel(model);
  servers.push(served);
  const client = new TidingsClient({
    url: served.url,
    token: () => "alice.1",
    WebSocket: WebSocket as unknown as WebSocketConstructor,
  });
  clients.push(client);
  return { ...served, client };
}

async function waitUntil(done: () => boolean): Promise<void> {
  for (let i = 0; i < 1_000; i++) {
    if (done()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("the condition did not hold in time");
}

test("a message is sent and received with the class of `ws`, across a broken connection", async () => {
  const model = new ScriptedServer(["r"]);
  const { client, sockets } = await startClient(model);
  await client.connect();
  const room = client.room("r");
  room.open();
  await waitUntil(() => room.state.get().phase === "live");
  room.send("one");
  await waitUntil(() => client.outbox.get().length === 0);
  for (const socket of sockets.clients) socket.terminate();
  room.send("two");
  model.appendMessage("three");
  await waitUntil(() => client.outbox.get().length === 0 && room.messages.get().items.length === 3);
  expect(
    room.messages
      .get()
      .items.map(({ content }) => content)
      .sort(),
  ).toEqual(["one", "three", "two"]);
  expect(sockets.clients.size).toBe(1);
});

test("the client waits for a server that is not up yet, and an early close does not throw", async () => {
  const model = new ScriptedServer(["r"]);
  const { client, server, url } = await startClient(model);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  const failed = client.connect();
  await waitUntil(() => client.connection.get().state === "reconnecting");
  client.disconnect();
  await expect(failed).rejects.toMatchObject({ code: "closed" });
  client.connect().catch(() => {});
  server.listen(Number(new URL(url).port), "127.0.0.1");
  await waitUntil(() => client.connection.get().state === "connected");
});

test("binary and broken frames get no answer, and the connection continues", async () => {
  const model = new ScriptedServer(["r"]);
  const { client, sockets } = await startClient(model);
  await client.connect();
  for (const socket of sockets.clients) {
    socket.send(Buffer.from([0xff, 0x00]), { binary: true });
    socket.send("{");
  }
  await expect(client.request({ type: "ping" })).resolves.toMatchObject({ type: "pong" });
});
