import { expect, test } from "vitest";
import { World } from "./support/world.js";

const exchangeMessages = async (world: World, client: ReturnType<World["client"]>, text: string) => {
  client.room("r").send(text);
  await world.clock.pass(1_000);
  world.server.appendMessage(`re: ${text}`);
  await world.clock.pass(1_000);
  const { items } = client.room("r").messages.get();
  expect(items.map(({ content }) => content)).toContain(`re: ${text}`);
  expect(items.find(({ content }) => content === text)).toMatchObject({ status: "sent", stored: true });
};

test("the client polls without a WebSocket class, and everything works", async () => {
  const world = new World();
  const { client } = await world.opened({ transport: "poll" }, 2_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
  expect(client.room("r").state.get().phase).toBe("live");
  await exchangeMessages(world, client, "over polls");
  expect(world.attempts).toBe(0);
});

test("the client polls at once when WebSockets are disabled, and returns when polls allow it", async () => {
  const world = new World();
  world.noWebSocket = true;
  world.server.websocket = false;
  const { client } = await world.opened({}, 3_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
  await exchangeMessages(world, client, "one");
  const before = world.attempts;
  await world.clock.pass(120_000);
  expect(world.attempts).toBe(before);
  world.noWebSocket = false;
  world.server.websocket = true;
  await world.clock.pass(60_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", transport: "websocket" });
  await exchangeMessages(world, client, "two");
  expect(world.server.contents()).toEqual(["one", "re: one", "two", "re: two"]);
});

test("repeated failed handshakes with a reachable gateway lead to polls", async () => {
  const world = new World();
  world.noWebSocket = true;
  const client = await world.connected({}, 20_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
  expect(world.attempts).toBeGreaterThanOrEqual(3);
  // The kit keeps trying with growing pauses and keeps polling meanwhile.
  const states: string[] = [];
  client.connection.subscribe(() => states.push(client.connection.get().state));
  await world.clock.pass(600_000);
  expect(states.filter((state) => state !== "connected")).toEqual([]);
  expect(world.attempts).toBeLessThan(20);
});

test("close code 4410 leads to polls", async () => {
  const world = new World();
  const client = await world.connected();
  world.server.websocket = false;
  world.cut(4410);
  await world.clock.pass(1_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
});

test("`websocket` reports a missing WebSocket class, and `auto` polls", async () => {
  const descriptor = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  Reflect.deleteProperty(globalThis, "WebSocket");
  try {
    const world = new World();
    const failed = world.client({ transport: "websocket", WebSocket: undefined }).connect();
    const polls = world.client({ WebSocket: undefined });
    polls.connect().catch(() => {});
    await Promise.all([expect(failed).rejects.toMatchObject({ code: "protocol" }), world.clock.pass(1_000)]);
    expect(polls.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
  } finally {
    if (descriptor) Object.defineProperty(globalThis, "WebSocket", descriptor);
  }
});

test("a missing network does not lead to polls", async () => {
  const world = new World();
  const client = await world.connected();
  world.down = true;
  world.cut();
  await world.clock.pass(300_000);
  world.down = false;
  await world.clock.pass(90_000);
  expect(client.connection.get()).toMatchObject({ state: "connected", transport: "websocket" });
});

test("a lost poll answer loses no events", async () => {
  const world = new World();
  const { client } = await world.opened({ transport: "poll" }, 2_000);
  for (let i = 0; i < 5; i++) {
    client.room("r").send(`m${i}`);
    await world.clock.pass(7);
    world.down = true;
    await world.clock.pass(100);
    world.down = false;
    world.server.appendMessage(`b${i}`);
    await world.clock.pass(20_000);
  }
  const contents = client
    .room("r")
    .messages.get()
    .items.map(({ content }) => content);
  expect(contents).toEqual(world.server.contents());
  expect(new Set(contents).size).toBe(10);
});

test("a gap in a poll is filled from the client's cursor", async () => {
  const world = new World();
  const { client } = await world.opened({ transport: "poll" }, 2_000);
  world.server.appendMessage("a");
  await world.clock.pass(2_000);
  world.down = true;
  await world.clock.pass(1_000);
  for (let i = 0; i < 5; i++) world.server.appendMessage(`missed ${i}`);
  world.server.room().tailStart = 6;
  const polled: unknown[] = [];
  const poll = world.server.poll.bind(world.server);
  world.server.poll = (user, body) => {
    const cursor = (body.cursors as Record<string, unknown> | undefined)?.r;
    const eventReads = world.server.requests.filter((request) => request.includes("/events")).length;
    if (cursor) polled.push([cursor, eventReads]);
    return poll(user, body);
  };
  let lagging = 3;
  world.server.http = (_, path) =>
    path.endsWith("/events") && lagging-- > 0 ? { status: 503, body: { code: "unavailable" } } : undefined;
  world.down = false;
  await world.clock.pass(60_000);
  // One poll reports the gap; the polls omit the room until the gap is filled.
  expect(polled[0]).toEqual([{ epoch: "1", seq: 1 }, 0]);
  expect(polled[1]).toEqual([{ epoch: "1", seq: 6 }, 4]);
  expect(
    client
      .room("r")
      .messages.get()
      .items.map(({ content }) => content),
  ).toEqual(world.server.contents());
  expect(world.server.requests.some((request) => /events\?after=1&epoch=1&upto=6/.test(request))).toBe(true);
});
