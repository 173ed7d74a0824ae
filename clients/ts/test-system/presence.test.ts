/** Who is there, and who is typing: what lives for a moment only. */

import { expect, test } from "vitest";
import { onSignal, presence, signal, typing } from "../src/live.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({ gateways: 2, proxied: true });

test("somebody is online, then away, then offline with the time when they were seen last", async () => {
  const [alice, carol] = [
    await system.connected(system.name("alice"), { gateways: [0] }),
    await system.connected(system.name("carol"), { gateways: [1] }),
  ];
  const room = await system.room([alice.id, carol.id]);
  await alice.open(room);
  const of = presence(alice.client).of(carol.id);
  const release = presence(alice.client).watch([carol.id, "nobody-at-all"]);
  await until("she is online", () => of.get()?.status === "online");
  await until(
    "nobody is offline",
    () => presence(alice.client).of("nobody-at-all").get()?.status === "offline",
  );
  presence(carol.client).set("away");
  await until("she is away", () => of.get()?.status === "away");
  // What she said holds over a reconnect.
  await system.stack.link("gateway", 1, "cut");
  await until("she was gone", () => carol.states.includes("reconnecting"));
  await carol.becomes("connected");
  await rest(1500);
  expect(of.get()).toEqual({ status: "away", lastSeen: null });
  presence(carol.client).set("online");
  await until("she is online", () => of.get()?.status === "online");
  carol.client.close();
  // A connection that closes counts for ten seconds more.
  await until("she is offline", () => of.get()?.status === "offline", 25_000);
  expect(Math.abs((of.get()?.lastSeen ?? 0) - Date.now())).toBeLessThan(60_000);
  release();
});

test("typing is shown to others, ends by itself, by a stop, and by a message", async () => {
  const [alice, carol] = [
    await system.connected(system.name("alice"), { gateways: [0] }),
    await system.connected(system.name("carol"), { gateways: [1], name: "Carol" }),
  ];
  const room = await system.room([alice.id, carol.id]);
  await Promise.all([alice.open(room), carol.open(room)]);
  const typers = () => typing(alice.client.room(room)).get();
  const c = carol.client.room(room);
  typing(c).typed();
  await until("she types", () => typers().length === 1);
  expect(typers()).toEqual([{ id: carol.id, name: "Carol" }]);
  expect(typing(c).get()).toEqual([]);
  typing(c).stop();
  await until("she has stopped", () => typers().length === 0);

  typing(c).typed();
  await until("she types", () => typers().length === 1);
  c.send("done");
  await until("the message ends it", () => typers().length === 0);

  // As long as keys are pressed it goes on; then it ends without a word of hers.
  const keys = setInterval(() => typing(c).typed(), 200);
  await until("she types", () => typers().length === 1);
  await rest(3000);
  expect(typers()).toHaveLength(1);
  clearInterval(keys);
  await until("it has expired", () => typers().length === 0, 6000);

  typing(c).typed();
  await until("she types", () => typers().length === 1);
  await system.stack.link("gateway", 1, "black_hole");
  // Not even a stop comes through.
  await until("it has expired", () => typers().length === 0, 6000);
});

test("signals reach those who are there, or the one whom they are for", async () => {
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
  await signal(alice.client.room(room), { call: 1 });
  await signal(alice.client.room(room), ["for carol"], carol.id);
  await until("all have come", () => heard[1]?.length === 2 && heard[2]?.length === 1);
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
