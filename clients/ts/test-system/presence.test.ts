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
  const of = presence(alice.client).of(carol.id);
  const release = presence(alice.client).watch([carol.id, "nobody-at-all"]);
  await waitUntil("she is online", () => of.get()?.status === "online");
  await waitUntil(
    "nobody is offline",
    () => presence(alice.client).of("nobody-at-all").get()?.status === "offline",
  );
  presence(carol.client).set("away");
  await waitUntil("she is away", () => of.get()?.status === "away");
  // The presence that she set survives a reconnect.
  await system.stack.link("gateway", 1, "cut");
  await waitUntil("she was gone", () => carol.states.includes("reconnecting"));
  await carol.waitForState("connected");
  await quietPeriod();
  expect(of.get()).toEqual({ status: "away", lastSeen: null });
  presence(carol.client).set("online");
  await waitUntil("she is online", () => of.get()?.status === "online");
  carol.client.close();
  // A closed connection counts for ten more seconds.
  await waitUntil("she is offline", () => of.get()?.status === "offline", 25_000);
  expect(Math.abs((of.get()?.lastSeen ?? 0) - Date.now())).toBeLessThan(60_000);
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
  const typers = () => typing(alice.client.room(room)).get();
  const c = carol.client.room(room);
  typing(c).typed();
  await waitUntil("she is shown as typing", () => typers().length === 1);
  expect(typers()).toEqual([{ id: carol.id, name: "Carol" }]);
  expect(typing(c).get()).toEqual([]);
  typing(c).stop();
  await waitUntil("she is no longer shown as typing", () => typers().length === 0);

  typing(c).typed();
  await waitUntil("she is shown as typing", () => typers().length === 1);
  c.send("done");
  await waitUntil("the message ends it", () => typers().length === 0);

  // Typing continues with each key press; then it ends without a stop of hers.
  const keys = setInterval(() => typing(c).typed(), 50);
  await waitUntil("she is shown as typing", () => typers().length === 1);
  await device.wait(3000);
  expect(typers()).toHaveLength(1);
  clearInterval(keys);
  await waitUntil("it has expired", () => typers().length === 0, 6000);

  typing(c).typed();
  await waitUntil("she is shown as typing", () => typers().length === 1);
  await system.stack.link("gateway", 1, "black_hole");
  // Not even a stop arrives.
  await waitUntil("it has expired", () => typers().length === 0, 6000);
});

test("signals reach all connected members or one named user", async () => {
  const connected = (name: string) => system.connected(system.name(name));
  const people = await Promise.all([connected("alice"), connected("carol"), connected("dave")]);
  const room = await system.room(people.map(({ id }) => id));
  await Promise.all(people.map((person) => person.open(room)));
  const heard = people.map((person) => {
    const signals: unknown[] = [];
    onSignal(person.client, (signal) => void signals.push(signal));
    return signals;
  });
  const [alice, carol, dave] = people;
  // A gateway that still brings a room up to date passes no signals on. After a message was delivered it is up to date.
  await alice.send(room, "hello");
  await waitUntil("all have the message", () => people.every((person) => person.texts(room).length === 1));
  await signal(alice.client.room(room), { call: 1 });
  await signal(alice.client.room(room), ["for carol"], carol.id);
  await waitUntil("all signals arrive", () => heard[1]?.length === 2 && heard[2]?.length === 1);
  expect(heard).toEqual([
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
