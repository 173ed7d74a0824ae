/** The kit changes from WebSockets to polls and back without losing messages. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Device } from "./support/device.js";
import { AdditionalGateway, SharedSettings } from "./support/gateway.js";
import { expectAllEmitted, expectShownEqualsStored } from "./support/history.js";
import { System } from "./support/system.js";
import { quietPeriod, sleep, waitUntil } from "./support/until.js";

const shared = await SharedSettings.create();
const system = new System(shared.options);
let gateway: AdditionalGateway;
beforeAll(() => {
  gateway = new AdditionalGateway(system.stack, shared);
});
afterEach(() => gateway.stop("SIGKILL"));
afterAll(() => gateway.stop("SIGKILL"));

const GENEROUS_LIMITS = { TIDINGS_MESSAGES_PER_SECOND: "10000", TIDINGS_MESSAGES_BURST: "10000" };

test("a gateway disables and enables WebSockets during a conversation", async () => {
  await gateway.start({ ...GENEROUS_LIMITS, TIDINGS_WEBSOCKET: "true" });
  // The clock is five times as fast, because the client tries WebSockets again only after seconds.
  const alice = await system.connected(system.name("alice"), {
    ...new Device(5).options,
    url: shared.origin,
  });
  // A user on a node without faults.
  const carol = await system.connected(system.name("carol"));
  const room = await system.room([alice.id, carol.id]);
  await Promise.all([alice.open(room), carol.open(room)]);
  let talking = true;
  const talk = (async () => {
    for (let i = 1; talking; i++) {
      alice.client.room(room).send(`a${i}`);
      carol.client.room(room).send(`c${i}`);
      await sleep(150);
    }
  })();
  const waitForTransport = (transport: string) =>
    waitUntil(
      `the client uses ${transport}`,
      () => {
        const now = alice.client.connection.get();
        return now.state === "connected" && now.transport === transport;
      },
      40_000,
    );
  await waitForTransport("websocket");
  for (const [setting, transport] of [
    ["false", "poll"],
    ["true", "websocket"],
  ] as const) {
    await gateway.stop();
    await gateway.start({ ...GENEROUS_LIMITS, TIDINGS_WEBSOCKET: setting });
    await waitForTransport(transport);
    await alice.send(room, `over ${transport}`);
  }
  talking = false;
  await talk;
  await Promise.all([alice.outboxEmpty(), carol.outboxEmpty()]);
  for (const person of [alice, carol]) {
    await expectShownEqualsStored(system, person, room);
    await expectAllEmitted(system, person, room);
  }
  expect(alice.states).not.toContain("disconnected");
});

test("the client polls while the network blocks WebSockets and returns afterwards", async () => {
  const device = new Device(5);
  device.webSockets = false;
  const alice = await system.connected(system.name("alice"), device.options);
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  expect(alice.client.connection.get().transport).toBe("poll");
  await alice.open(room);
  await system.post(bob, room, "one");
  await alice.send(room, "two");
  device.webSockets = true;
  let round = 0;
  await waitUntil(
    "the client uses a WebSocket",
    async () => {
      await system.post(bob, room, `meanwhile ${++round}`);
      alice.client.room(room).send(`mine ${round}`);
      await sleep(100);
      return alice.client.connection.get().transport === "websocket";
    },
    30_000,
  );
  await system.post(bob, room, "live");
  await waitUntil("the message arrives", () => alice.texts(room).includes("live"));
  await alice.outboxEmpty();
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
  // The connection never left the state connected.
  expect(alice.states.slice(alice.states.indexOf("connected"))).toEqual(["connected"]);
});

test("`auto` polls without a WebSocket class, and `websocket` reports an error", async () => {
  const globals = globalThis as { WebSocket?: unknown };
  const before = globals.WebSocket;
  globals.WebSocket = undefined;
  try {
    const alice = await system.connected(system.name("alice"), { WebSocket: undefined });
    expect(alice.client.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
    const room = await system.room([alice.id]);
    await alice.open(room);
    await alice.send(room, "hello");
    await expectShownEqualsStored(system, alice, room);
    const strict = system.person(system.name("alice"), { WebSocket: undefined, transport: "websocket" });
    await expect(strict.client.connect()).rejects.toMatchObject({ code: "protocol" });
  } finally {
    globals.WebSocket = before;
  }
});

test("the transport `poll` polls although WebSockets work", async () => {
  const alice = await system.connected(system.name("alice"), {
    ...new Device(10).options,
    transport: "poll",
  });
  const room = await system.room([alice.id]);
  await alice.open(room);
  await alice.send(room, "hello");
  await quietPeriod();
  expect(alice.client.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
  await expectShownEqualsStored(system, alice, room);
});
