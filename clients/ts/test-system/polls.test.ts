/** Without WebSockets everything works by polls. */

import { expect, test } from "vitest";
import { editMessage, react } from "../src/changes.js";
import { receipts, typing } from "../src/live.js";
import { expectAllTold, expectInOrder, expectWhole, history } from "./support/history.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({
  gateways: 2,
  proxied: true,
  gatewayEnv: {
    TIDINGS_WEBSOCKET: "false",
    TIDINGS_MESSAGES_PER_SECOND: 10_000,
    TIDINGS_MESSAGES_BURST: 10_000,
    TIDINGS_POLLS_PER_SECOND: 1000,
  },
});

test("where WebSockets are switched off it polls, and shows no failure", async () => {
  const alice = await system.connected(system.name("alice"), { name: "Alice" });
  expect(alice.client.connection.get()).toMatchObject({ state: "connected", transport: "poll", attempt: 0 });
  expect(alice.client.me.get()).toMatchObject({ id: alice.id, limits: { max_message_chars: 1000 } });
  await until("the list is loaded", () => alice.client.rooms.get().loaded);
});

test("two who poll talk, edit, react, type, mark and see each other", async () => {
  const [alice, carol] = [
    await system.connected(system.name("alice"), { gateways: [0] }),
    await system.connected(system.name("carol"), { gateways: [1], name: "Carol" }),
  ];
  const room = await system.room([alice.id, carol.id]);
  await Promise.all([alice.open(room), carol.open(room)]);
  for (let i = 1; i <= 10; i++) {
    alice.client.room(room).send(`a${i}`);
    carol.client.room(room).send(`c${i}`);
  }
  await Promise.all([alice.emptied(), carol.emptied()]);
  await until("both have all", () => [alice, carol].every((person) => person.rows(room).length === 20));
  const said = alice.texts(room);
  for (const who of ["a", "c"]) {
    expect(said.filter((text) => text.startsWith(who))).toEqual(
      Array.from({ length: 10 }, (_, i) => `${who}${i + 1}`),
    );
  }
  const { seq = 0 } = alice.rows(room).find(({ mine }) => mine) ?? {};
  await editMessage(alice.client.room(room), seq, "edited");
  await react(carol.client.room(room), seq, "👍");
  await until("it is seen", () => carol.row(room, seq)?.content === "edited");
  await until("it is seen", () => alice.row(room, seq)?.reactions.length === 1);
  typing(carol.client.room(room)).typed();
  await until("she types", () => typing(alice.client.room(room)).get().length === 1);
  carol.client.room(room).markRead(20);
  await until("it is known", () => receipts(alice.client.room(room)).get().get(carol.id)?.readSeq === 20);
  for (const person of [alice, carol]) {
    await expectWhole(system, person, room);
    await expectAllTold(system, person, room);
  }
});

test("polls that break cost nothing: what is missed comes, what was sent is sent once", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  for (let round = 0; round < 5; round++) {
    const weather = (["cut", "reset", "refuse", "cut", "reset"] as const)[round] ?? "cut";
    for (let i = 0; i < 4; i++) {
      alice.client.room(room).send(`a${round}-${i}`);
      await system.post(bob, room, `b${round}-${i}`);
      if (i === 1) for (const number of [0, 1]) await system.stack.link("gateway", number, weather);
    }
    await rest(150);
    await system.heal();
  }
  await alice.emptied();
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
  const said = (await history(system, alice.id, room)).map(({ content }) => content);
  expect(said.filter((text) => text.startsWith("a"))).toHaveLength(20);
  expect(said.filter((text) => text.startsWith("b"))).toHaveLength(20);
});

test("who was away for longer than the server remembers has it filled, or loaded anew", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const [near, far] = [await system.room([alice.id, bob]), await system.room([alice.id, bob])];
  for (const room of [near, far]) {
    await alice.open(room);
    await system.post(bob, room, "before");
    await until("it is heard", () => alice.rows(room).length === 1);
  }
  alice.client.disconnect();
  await system.posts(bob, near, 110, `${"long ".repeat(180)}p`);
  await system.posts(bob, far, 270);
  await alice.client.connect();
  await alice.live(near, far);
  for (const room of [near, far]) {
    await expectWhole(system, alice, room);
    expectInOrder(alice, room);
    await system.post(bob, room, "live again");
    await until("it is heard", () => alice.texts(room).at(-1) === "live again");
  }
  await expectAllTold(system, alice, near);
});

test("a node that stops is left for the other one", async () => {
  const aim = { number: 0 };
  const alice = await system.connected(system.name("alice"), { url: () => system.stack.gateway(aim.number) });
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  for (const number of [0, 1]) {
    aim.number = 1 - number;
    const drained = system.stack.drain("gateway", number);
    for (let i = 1; i <= 5; i++) {
      alice.client.room(room).send(`a${number}-${i}`);
      await system.post(bob, room, `b${number}-${i}`);
    }
    await drained;
    await alice.emptied();
    await system.stack.start("gateway", number);
  }
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
});

test("rooms come and go by polls, too", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([bob, alice.id], { name: "New" });
  await until("it is listed", () => alice.listed(room)?.name === "New");
  await alice.open(room);
  await alice.say(room, "hello");
  await system.http(bob, "DELETE", `/rooms/${room}/members/${alice.id}`);
  await until("it is removed", () => alice.client.room(room).state.get().phase === "removed");
  await until("it is not listed", () => alice.listed(room) === undefined);
  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`);
  await alice.live(room);
  await expectWhole(system, alice, room);
});

test("who is blocked, and whose token is refused, is told so", async () => {
  const id = system.name("alice");
  let ttl = 3600;
  const alice = await system.connected(id, { token: () => system.stack.token(id, { ttl }) });
  await system.http("root", "PUT", `/users/${id}`, { blocked: true }, "tidings.admin");
  await alice.becomes("disconnected", 40_000);
  expect(alice.client.connection.get().error?.code).toBe("forbidden");
  await system.http("root", "PUT", `/users/${id}`, { blocked: false }, "tidings.admin");
  ttl = -10;
  await expect(alice.client.connect()).rejects.toMatchObject({ code: "unauthorized", reason: "expired" });
  ttl = 3600;
  await alice.client.connect();
});
