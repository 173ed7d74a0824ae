/** Between WebSockets and polls: there and back, and nothing is lost on the way. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Device } from "./support/device.js";
import { OwnGateway, Shared } from "./support/gateway.js";
import { expectAllTold, expectWhole } from "./support/history.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const shared = await Shared.make();
const system = new System(shared.options);
let gateway: OwnGateway;
beforeAll(() => {
  gateway = new OwnGateway(system.stack, shared);
});
afterEach(() => gateway.stop("SIGKILL"));
afterAll(() => gateway.stop("SIGKILL"));

const limits = { TIDINGS_MESSAGES_PER_SECOND: "10000", TIDINGS_MESSAGES_BURST: "10000" };

test("a gateway whose WebSockets are switched off and on again while people talk", async () => {
  await gateway.start({ ...limits, TIDINGS_WEBSOCKET: "true" });
  const alice = await system.connected(system.name("alice"), { url: shared.origin });
  // Somebody who stays on a node that nothing happens to.
  const carol = await system.connected(system.name("carol"));
  const room = await system.room([alice.id, carol.id]);
  await Promise.all([alice.open(room), carol.open(room)]);
  let talking = true;
  const talk = (async () => {
    for (let i = 1; talking; i++) {
      alice.client.room(room).send(`a${i}`);
      carol.client.room(room).send(`c${i}`);
      await rest(150);
    }
  })();
  const over = (transport: string) =>
    until(
      `it goes over ${transport}`,
      () => {
        const now = alice.client.connection.get();
        return now.state === "connected" && now.transport === transport;
      },
      40_000,
    );
  await over("websocket");
  for (const [setting, transport] of [
    ["false", "poll"],
    ["true", "websocket"],
  ] as const) {
    await gateway.stop();
    await gateway.start({ ...limits, TIDINGS_WEBSOCKET: setting });
    await over(transport);
    await rest(500);
  }
  talking = false;
  await talk;
  await Promise.all([alice.emptied(), carol.emptied()]);
  for (const person of [alice, carol]) {
    await expectWhole(system, person, room);
    await expectAllTold(system, person, room);
  }
  expect(alice.states).not.toContain("disconnected");
});

test("a network that lets no WebSocket through is polled over, and left for a WebSocket once it does", async () => {
  const device = new Device(5);
  device.webSockets = false;
  const alice = await system.connected(system.name("alice"), device.options);
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  expect(alice.client.connection.get().transport).toBe("poll");
  await alice.open(room);
  await system.post(bob, room, "one");
  await alice.say(room, "two");
  device.webSockets = true;
  let said = 0;
  await until(
    "it goes over a WebSocket",
    async () => {
      await system.post(bob, room, `meanwhile ${++said}`);
      alice.client.room(room).send(`mine ${said}`);
      await rest(100);
      return alice.client.connection.get().transport === "websocket";
    },
    30_000,
  );
  await system.post(bob, room, "live");
  await until("it is heard", () => alice.texts(room).includes("live"));
  await alice.emptied();
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
  // It never was anything but connected.
  expect(alice.states.slice(alice.states.indexOf("connected"))).toEqual(["connected"]);
});

test("where there is no WebSocket at all it polls, and where only a WebSocket is wanted it says that there is none", async () => {
  const none = globalThis as { WebSocket?: unknown };
  const before = none.WebSocket;
  none.WebSocket = undefined;
  try {
    const alice = await system.connected(system.name("alice"), { WebSocket: undefined });
    expect(alice.client.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
    const room = await system.room([alice.id]);
    await alice.open(room);
    await alice.say(room, "hello");
    await expectWhole(system, alice, room);
    const strict = system.person(system.name("alice"), { WebSocket: undefined, transport: "websocket" });
    await expect(strict.client.connect()).rejects.toMatchObject({ code: "protocol" });
  } finally {
    none.WebSocket = before;
  }
});

test("who wants polls alone polls, though WebSockets would do", async () => {
  const alice = await system.connected(system.name("alice"), { transport: "poll" });
  const room = await system.room([alice.id]);
  await alice.open(room);
  await alice.say(room, "hello");
  await rest(1000);
  expect(alice.client.connection.get()).toMatchObject({ state: "connected", transport: "poll" });
  await expectWhole(system, alice, room);
});
