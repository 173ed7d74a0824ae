/** A device that sleeps for an hour, and what it wakes up to. */
import { expect, test } from "vitest";
import { Device } from "./support/device.js";
import { expectAllTold, expectWhole } from "./support/history.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({ proxied: true });
const HOUR = 3_600_000;

test("after an hour of sleep behind a dead line the client is back by itself, with all that was missed", async () => {
  const device = new Device(5);
  const id = system.name("alice");
  const alice = await system.connected(id, { ...device.options, transport: "websocket" });
  const bob = system.name("bob");
  const room = await system.room([id, bob]);
  await alice.open(room);
  await alice.say(room, "good night");
  await alice.emptied();
  await system.stack.link("gateway", 0, "half_open");
  await system.posts(bob, room, 30, "while asleep");
  expect(alice.state).toBe("connected");
  device.jump(HOUR);
  const { clientId } = alice.client.room(room).send("good morning");
  await until("it has noticed", () => alice.states.includes("reconnecting"));
  await alice.becomes("connected");
  await alice.sent(room, clientId);
  await alice.emptied();
  expect(alice.states).toEqual(["connecting", "connected", "reconnecting", "connected"]);
  // The one from before may have expired meanwhile.
  expect(alice.tokens).toBeGreaterThanOrEqual(2);
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
});

test("a line that outlived the sleep is kept, once it has answered", async () => {
  const device = new Device(5);
  const alice = await system.connected(system.name("alice"), device.options);
  const room = await system.room([alice.id]);
  await alice.open(room);
  const pongs = () => alice.frames.filter(({ type }) => type === "pong").length;
  device.jump(HOUR);
  await until("it has asked", () => pongs() > 0);
  await rest(1500);
  expect(alice.states).toEqual(["connecting", "connected"]);
  await alice.say(room, "still here");
});

test("who is shown again, or has a network again, does not wait for the next attempt", async () => {
  const device = new Device();
  await system.stack.link("gateway", 0, "refuse");
  const alice = system.person(system.name("alice"), { ...device.options, random: () => 0.999 });
  void alice.client.connect();
  for (const event of ["visible", "online"] as const) {
    device.tell("offline");
    expect(alice.client.connection.get().offline).toBe(true);
    await until(
      "it waits for seconds",
      () => (alice.client.connection.get().retryAt ?? 0) > Date.now() + 2500,
    );
    await system.heal();
    const began = Date.now();
    device.tell(event);
    await alice.becomes("connected");
    expect(Date.now() - began).toBeLessThan(2000);
    if (event === "online") expect(alice.client.connection.get().offline).toBe(false);
    await system.stack.link("gateway", 0, "refuse");
    await system.stack.link("gateway", 0, "cut");
  }
});

test("a clock that jumps while messages wait neither fails nor repeats them", async () => {
  const device = new Device(5);
  const alice = await system.connected(system.name("alice"), { ...device.options, transport: "websocket" });
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.pause("postgres");
  for (let i = 1; i <= 5; i++) alice.client.room(room).send(`m${i}`);
  await rest(100);
  device.jump(HOUR);
  await system.stack.link("gateway", 0, "black_hole");
  for (let i = 6; i <= 10; i++) alice.client.room(room).send(`m${i}`);
  device.jump(-HOUR / 2);
  await alice.becomes("reconnecting");
  await system.stack.resume("postgres");
  await system.heal();
  await alice.emptied();
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
  expect(alice.texts(room)).toEqual(Array.from({ length: 10 }, (_, i) => `m${i + 1}`));
});
