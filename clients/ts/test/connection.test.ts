import { expect, test } from "vitest";
import type { TidingsError } from "../src/index.js";
import type { Session } from "../src/testing.js";
import { lifecycle } from "./support/lifecycle.js";
import { World } from "./support/world.js";

async function connectedClient(options: Parameters<World["client"]>[0] = {}) {
  const world = new World();
  const client = await world.connected(options);
  expect(client.connection.get().state).toBe("connected");
  return { world, client };
}

const sessionOf = (world: World) => [...world.server.sessions][0] as Session;

test("a client connects, lists its rooms, and shows the messages of others", async () => {
  const world = new World();
  world.server.appendMessage("before");
  const client = world.client();
  const connecting = client.connect();
  await world.clock.pass(1_000);
  await connecting;
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  expect(room.state.get().phase).toBe("live");
  world.server.appendMessage("after");
  await world.clock.pass(100);
  expect(room.messages.get().items.map(({ content }) => content)).toEqual(["before", "after"]);
  room.send("mine");
  expect(room.messages.get().items.at(-1)).toMatchObject({ content: "mine", status: "sending" });
  await world.clock.pass(100);
  expect(room.messages.get().items.at(-1)).toMatchObject({
    content: "mine",
    status: "sent",
    stored: true,
    seq: 3,
  });
  expect(client.outbox.get()).toEqual([]);
  expect(client.rooms.get().items[0]).toMatchObject({ id: "r", unread: 2, lastMessage: { content: "mine" } });
});

test("a client leaves no timer behind after close or without a connection", async () => {
  const { world, client } = await connectedClient();
  client.room("r").open();
  client.room("r").send("x");
  await world.clock.pass(1_000);
  client.close();
  world.client();
  await world.clock.pass(60_000);
  expect(world.clock.pending).toBe(0);
  expect(world.sockets.size).toBe(0);
});

test("the shown state follows the socket through a cut and a reconnect", async () => {
  const { world, client } = await connectedClient();
  const states: string[] = [];
  client.connection.subscribe(() => states.push(client.connection.get().state));
  world.down = true;
  world.cut();
  expect(client.connection.get()).toMatchObject({
    state: "reconnecting",
    attempt: 1,
    error: { code: "network" },
  });
  expect(client.connection.get().transport).toBeUndefined();
  await world.clock.pass(3_000);
  expect(client.connection.get().state).toBe("reconnecting");
  expect(client.connection.get().attempt).toBeGreaterThan(1);
  world.down = false;
  await world.clock.pass(40_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", attempt: 0 });
  expect(client.connection.get().error).toBeUndefined();
  expect(new Set(states)).toEqual(new Set(["reconnecting", "connected"]));
});

test.each([1002, 1003, 1007, 1009])("the client does not reconnect after close code %i", async (code) => {
  const { world, client } = await connectedClient();
  world.cut(code);
  await world.clock.pass(120_000);
  expect(client.connection.get()).toMatchObject({
    state: "disconnected",
    error: { code: "protocol", closeCode: code },
  });
  expect(world.attempts).toBe(1);
});

test.each([
  [4403, "forbidden"],
  [4409, "conflict"],
])("after %i it stops, and says why", async (code, kind) => {
  const { world, client } = await connectedClient();
  world.cut(code);
  await world.clock.pass(120_000);
  expect(client.connection.get()).toMatchObject({
    state: "disconnected",
    error: { code: kind, closeCode: code },
  });
  expect(world.attempts).toBe(1);
  expect(world.errors.map((error) => error.code)).toContain(kind);
});

test("the app may connect again after a fatal close", async () => {
  const { world, client } = await connectedClient();
  world.cut(4409);
  client.connect().catch(() => {});
  await world.clock.pass(1_000);
  expect(client.connection.get().state).toBe("connected");
});

test("the client waits 30 s after close code 4429, also after retryNow", async () => {
  const { world, client } = await connectedClient();
  world.cut(4429);
  client.retryNow();
  await world.clock.pass(29_900);
  expect(world.attempts).toBe(1);
  await world.clock.pass(2_000);
  expect(client.connection.get().state).toBe("connected");
});

test.each([1001, 1006, 1011, 1012, 1013, 4408, 4413, 4999])(
  "the client reconnects by itself after close code %i",
  async (code) => {
    const { world, client } = await connectedClient();
    world.cut(code);
    await world.clock.pass(2_000);
    expect(client.connection.get().state).toBe("connected");
    expect(world.attempts).toBe(2);
  },
);

test("the kit requests a new token once after a refusal", async () => {
  const world = new World();
  let tokenRequests = 0;
  world.server.refuse = (token) => token !== "alice.2";
  const client = world.client({ token: () => `alice.${++tokenRequests}` });
  await Promise.all([client.connect(), world.clock.pass(2_000)]);
  expect(tokenRequests).toBe(2);
  expect(client.connection.get().state).toBe("connected");
});

test("a second refused token in a row stops the client as unauthorized", async () => {
  const world = new World();
  let tokenRequests = 0;
  world.server.refuse = () => true;
  const client = world.client({ token: () => `alice.${++tokenRequests}` });
  const rejection = client.connect().catch((error: TidingsError) => error);
  await world.clock.pass(120_000);
  expect(await rejection).toMatchObject({ code: "unauthorized", reason: "expired" });
  expect(tokenRequests).toBe(2);
  expect(client.connection.get()).toMatchObject({ state: "disconnected", error: { code: "unauthorized" } });
});

test("a connection that is refused later requests a new token, and again after a later refusal", async () => {
  const { world, client } = await connectedClient();
  for (let i = 0; i < 3; i++) {
    world.cut(4401);
    await world.clock.pass(2_000);
    expect(client.connection.get().state).toBe("connected");
  }
});

test("the kit calls a token function again after it throws", async () => {
  const world = new World();
  let tokenRequests = 0;
  const client = world.client({
    token: () => {
      if (++tokenRequests < 3) throw new Error("no network");
      return "alice.1";
    },
  });
  client.connect().catch(() => {});
  await world.clock.pass(100);
  expect(client.connection.get()).toMatchObject({ state: "reconnecting", error: { code: "network" } });
  await world.clock.pass(10_000);
  expect(client.connection.get().state).toBe("connected");
});

test("a token is renewed on the open connection before it expires", async () => {
  const world = new World();
  world.server.ttl = 100_000;
  let tokenRequests = 0;
  await world.connected({ token: () => `alice.${++tokenRequests}` }, 69_000);
  expect(tokenRequests).toBe(1);
  await world.clock.pass(2_000);
  expect(tokenRequests).toBe(2);
  await world.clock.pass(400_000);
  const auths = world.server.seen.filter((frame) => frame.type === "auth").length;
  expect(auths).toBeGreaterThanOrEqual(6);
  expect(world.attempts).toBe(1);
});

test("a device detects a dead connection at once after sleep", async () => {
  const world = new World();
  world.server.heartbeat = 600_000;
  const client = await world.connected();
  world.down = true;
  world.clock.jump(60_000);
  await world.clock.pass(11_000);
  expect(client.connection.get().state).toBe("reconnecting");
  world.down = false;
  await world.clock.pass(5_000);
  expect(client.connection.get().state).toBe("connected");
});

test("the kit sends a ping after silence, and a missing pong ends the connection", async () => {
  const { world, client } = await connectedClient();
  await world.clock.pass(60_000);
  expect(world.server.seen.filter((frame) => frame.type === "ping").length).toBeGreaterThanOrEqual(2);
  expect(world.attempts).toBe(1);
  world.down = true;
  await world.clock.pass(31_000);
  expect(client.connection.get()).toMatchObject({ state: "reconnecting" });
});

test("the return of the network ends the pause", async () => {
  const app = lifecycle();
  const { world, client } = await connectedClient({ lifecycle: app, random: () => 0.999 });
  world.down = true;
  world.cut();
  app.emit("offline");
  expect(client.connection.get().offline).toBe(true);
  await world.clock.pass(20_000);
  world.down = false;
  app.emit("online");
  await world.clock.pass(50);
  expect(client.connection.get()).toMatchObject({ state: "connected", offline: false });
});

test("the client leaves a draining node after the given delay and misses nothing", async () => {
  const { world, client } = await connectedClient();
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  sessionOf(world).send({ type: "draining", reconnect_after_ms: 7_000 });
  await world.clock.pass(6_900);
  expect(world.attempts).toBe(1);
  expect(client.connection.get()).toMatchObject({ state: "connected", draining: true });
  world.server.appendMessage("while draining");
  await world.clock.pass(500);
  expect(world.attempts).toBe(2);
  expect(client.connection.get()).toMatchObject({ state: "connected", draining: false });
  world.server.appendMessage("after");
  await world.clock.pass(500);
  expect(room.messages.get().items.map(({ content }) => content)).toEqual(["while draining", "after"]);
});

test("a connection that breaks while draining waits for the rest of the given delay", async () => {
  const { world, client } = await connectedClient();
  sessionOf(world).send({ type: "draining", reconnect_after_ms: 10_000 });
  await world.clock.pass(4_000);
  world.cut(1012);
  await world.clock.pass(5_900);
  expect(world.attempts).toBe(1);
  await world.clock.pass(300);
  expect(client.connection.get().state).toBe("connected");
});

test("a client stays disconnected after disconnect until connect", async () => {
  const { world, client } = await connectedClient();
  client.disconnect();
  await world.clock.pass(60_000);
  expect(client.connection.get().state).toBe("disconnected");
  expect(world.attempts).toBe(1);
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  expect(client.connection.get().state).toBe("connected");
});

test("the kit reports invalid frames and never throws", async () => {
  const { world, client } = await connectedClient();
  client.room("r").open();
  await world.clock.pass(1_000);
  const texts = [
    "",
    "{",
    "null",
    "[]",
    "42",
    '"x"',
    '{"type":7}',
    '{"type":"message:new"}',
    '{"type":"message:new","room":"r","seq":"1","at":"x","id":"i","client_id":"c","sender":{},"kind":"text","content":""}',
    '{"type":"room:joined","rooms":[null,7,{}],"failed":[{}]}',
    '{"type":"receipt:read","room":"r","marks":[null,{"user":1}]}',
    '{"type":"room:gap","room":"r","after":0,"head":{}}',
    '{"type":"ack","ref":"zz"}',
    '{"type":"from the future","room":"r","seq":1}',
    '{"type":"__proto__"}',
  ];
  for (const socket of world.sockets) for (const text of texts) socket.deliver(text);
  await world.clock.pass(1_000);
  expect(client.connection.get().state).toBe("connected");
  expect(world.errors.length).toBeGreaterThan(5);
  expect(world.errors.every((error) => error.code === "protocol")).toBe(true);
  world.server.appendMessage("still here");
  await world.clock.pass(100);
  expect(client.room("r").messages.get().items.at(-1)?.content).toBe("still here");
});
