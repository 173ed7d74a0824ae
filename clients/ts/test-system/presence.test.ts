/** Presence, typing and signals, which are not stored. */

import { expect, test } from "vitest";
import { onSignal, presence, signal, typing } from "../src/live.js";
import { Device } from "./support/device.js";
import { System } from "./support/system.js";
import { quietPeriod, waitUntil } from "./support/until.js";

const system = new System({ gateways: 2, proxied: true });

test("a user is online, then away, then offline with a last-seen time", async () => {
  const [alice, carol] = [
    await system.connected(system.name("alice"), { gateways: [0] }),
    await system.connected(system.name("carol"), { gateways: [1] }),
  ];
  const room = await system.room([alice.id, carol.id]);
  await alice.open(room);
  const presenceOfCarol = presence(alice.client).of(carol.id);
  const release = presence(alice.client).watch([carol.id, "nobody-at-all"]);
  await waitUntil("she is online", () => presenceOfCarol.get()?.status === "online");
  await waitUntil(
    "nobody is offline",
    () => presence(alice.client).of("nobody-at-all").get()?.status === "offline",
  );
  presence(carol.client).set("away");
  await waitUntil("she is away", () => presenceOfCarol.get()?.status === "away");
  // The presence that she set survives a reconnect.
  await system.stack.link("gateway", 1, "cut");
  await waitUntil("she was gone", () => carol.states.includes("reconnecting"));
  await carol.waitForState("connected");
  await quietPeriod();
  expect(presenceOfCarol.get()).toEqual({ status: "away", lastSeen: null });
  presence(carol.client).set("online");
  await waitUntil("she is online", () => presenceOfCarol.get()?.status === "online");
  carol.client.close();
  // A user stays online for ten seconds after the last connection was closed.
  await waitUntil("she is offline", () => presenceOfCarol.get()?.status === "offline", 25_000);
  expect(Math.abs((presenceOfCarol.get()?.lastSeen ?? 0) - Date.now())).toBeLessThan(60_000);
  release();
});

test("typing is shown to others and ends by timeout, stop or message", async () => {
  // The clock is four times as fast, because typing expires after seconds.
  const device = new Device(4);
  const [alice, carol] = [
    await system.connected(system.name("alice"), { ...device.options, gateways: [0] }),
    await system.connected(system.name("carol"), { ...device.options, gateways: [1], name: "Carol" }),
  ];
  const room = await system.room([alice.id, carol.id]);
  await Promise.all([alice.open(room), carol.open(room)]);
  const typingUsers = () => typing(alice.client.room(room)).get();
  const c = carol.client.room(room);
  typing(c).typed();
  await waitUntil("she is shown as typing", () => typingUsers().length === 1);
  expect(typingUsers()).toEqual([{ id: carol.id, name: "Carol" }]);
  expect(typing(c).get()).toEqual([]);
  typing(c).stop();
  await waitUntil("she is no longer shown as typing", () => typingUsers().length === 0);

  typing(c).typed();
  await waitUntil("she is shown as typing", () => typingUsers().length === 1);
  c.send("done");
  await waitUntil("the message ends it", () => typingUsers().length === 0);

  // Each key press extends typing. Then it expires without a `typing:stop`.
  const keys = setInterval(() => typing(c).typed(), 50);
  await waitUntil("she is shown as typing", () => typingUsers().length === 1);
  await device.wait(3000);
  expect(typingUsers()).toHaveLength(1);
  clearInterval(keys);
  await waitUntil("it has expired", () => typingUsers().length === 0, 6000);

  typing(c).typed();
  await waitUntil("she is shown as typing", () => typingUsers().length === 1);
  await system.stack.link("gateway", 1, "black_hole");
  // No `typing:stop` arrives either.
  await waitUntil("it has expired", () => typingUsers().length === 0, 6000);
});

test("signals reach all connected members or one named user", async () => {
  const connectUser = (name: string) => system.connected(system.name(name));
  const people = await Promise.all([connectUser("alice"), connectUser("carol"), connectUser("dave")]);
  const room = await system.room(people.map(({ id }) => id));
  await Promise.all(people.map((person) => person.open(room)));
  const received = people.map((person) => {
    const signals: unknown[] = [];
    onSignal(person.client, (signal) => void signals.push(signal));
    return signals;
  });
  const [alice, carol, dave] = people;
  // While a gateway replays a room to a client, it drops the signals of the room. A delivered message shows that the
  // replay has ended.
  await alice.send(room, "hello");
  await waitUntil("all have the message", () => people.every((person) => person.texts(room).length === 1));
  await signal(alice.client.room(room), { call: 1 });
  await signal(alice.client.room(room), ["for carol"], carol.id);
  await waitUntil("all signals arrive", () => received[1]?.length === 2 && received[2]?.length === 1);
  expect(received).toEqual([
    [],
    [
      { room, from: alice.id, data: { call: 1 } },
      { room, from: alice.id, data: ["for carol"] },
    ],
    [{ room, from: alice.id, data: { call: 1 } }],
  ]);
  await expect(signal(dave.client.room(room), 1, "nobody-at-all")).rejects.toMatchObject({
    code: "not_found",
  });
});
