/** A device that sleeps for an hour and then reconnects. */
import { expect, test } from "vitest";
import { Device } from "./support/device.js";
import { expectAllEmitted, expectShownEqualsStored } from "./support/history.js";
import { System } from "./support/system.js";
import { waitUntil } from "./support/until.js";

const system = new System({ proxied: true });
const HOUR_MS = 3_600_000;

test("after an hour of sleep the client replaces a dead connection and misses nothing", async () => {
  const device = new Device(5);
  const id = system.name("alice");
  const alice = await system.connected(id, { ...device.options, transport: "websocket" });
  const bob = system.name("bob");
  const room = await system.room([id, bob]);
  await alice.open(room);
  await alice.send(room, "good night");
  await alice.outboxEmpty();
  await system.stack.link("gateway", 0, "half_open");
  await system.posts(bob, room, 30, "while asleep");
  expect(alice.state).toBe("connected");
  device.jump(HOUR_MS);
  const { clientId } = alice.client.room(room).send("good morning");
  await waitUntil("the client detects the dead connection", () => alice.states.includes("reconnecting"));
  await alice.waitForState("connected");
  await alice.waitUntilSent(room, clientId);
  await alice.outboxEmpty();
  expect(alice.states).toEqual(["connecting", "connected", "reconnecting", "connected"]);
  // The earlier token may have expired meanwhile.
  expect(alice.tokenRequests).toBeGreaterThanOrEqual(2);
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
});

test("a connection that survived the sleep is kept after its answer", async () => {
  const device = new Device(5);
  const alice = await system.connected(system.name("alice"), device.options);
  const room = await system.room([alice.id]);
  await alice.open(room);
  const countPongs = () => alice.frames.filter(({ type }) => type === "pong").length;
  device.jump(HOUR_MS);
  await waitUntil("the client has probed the connection", () => countPongs() > 0);
  // Waits longer than the time limit for the answer to a ping.
  await device.wait(6000);
  expect(alice.states).toEqual(["connecting", "connected"]);
  await alice.send(room, "still here");
});

test("a visible page or a returned network ends the pause before the next attempt", async () => {
  const device = new Device();
  await system.stack.link("gateway", 0, "refuse");
  const alice = system.person(system.name("alice"), { ...device.options, random: () => 0.999 });
  void alice.client.connect();
  for (const event of ["visible", "online"] as const) {
    device.emit("offline");
    expect(alice.client.connection.get().offline).toBe(true);
    await waitUntil(
      "a pause of seconds begins",
      () => (alice.client.connection.get().retryAt ?? 0) > Date.now() + 2500,
    );
    await system.heal();
    const began = Date.now();
    device.emit(event);
    await alice.waitForState("connected");
    expect(Date.now() - began).toBeLessThan(2000);
    if (event === "online") expect(alice.client.connection.get().offline).toBe(false);
    await system.stack.link("gateway", 0, "refuse");
    await system.stack.link("gateway", 0, "cut");
  }
});

test("a clock jump neither fails nor repeats waiting messages", async () => {
  const device = new Device(5);
  const alice = await system.connected(system.name("alice"), { ...device.options, transport: "websocket" });
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.pause("postgres");
  for (let i = 1; i <= 5; i++) alice.client.room(room).send(`m${i}`);
  await waitUntil("the messages are accepted", () => alice.rows(room).every(({ seq }) => seq !== undefined));
  device.jump(HOUR_MS);
  await system.stack.link("gateway", 0, "black_hole");
  for (let i = 6; i <= 10; i++) alice.client.room(room).send(`m${i}`);
  device.jump(-HOUR_MS / 2);
  await alice.waitForState("reconnecting");
  await system.stack.resume("postgres");
  await system.heal();
  await alice.outboxEmpty();
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
  expect(alice.texts(room)).toEqual(Array.from({ length: 10 }, (_, i) => `m${i + 1}`));
});
