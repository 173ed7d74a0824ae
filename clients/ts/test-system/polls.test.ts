/** All features work by polls without WebSockets. */

import { expect, test } from "vitest";
import { editMessage, react } from "../src/changes.js";
import { receipts, typing } from "../src/live.js";
import { expectAllEmitted, expectInOrder, expectShownEqualsStored, history } from "./support/history.js";
import { System } from "./support/system.js";
import { sleep, waitUntil } from "./support/until.js";

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

test("the client polls without an error when WebSockets are disabled", async () => {
  const alice = await system.connected(system.name("alice"), { name: "Alice" });
  expect(alice.client.connection.get()).toMatchObject({ state: "connected", transport: "poll", attempt: 0 });
  expect(alice.client.me.get()).toMatchObject({ id: alice.id, limits: { maxMessageChars: 1000 } });
  await waitUntil("the list is loaded", () => alice.client.rooms.get().loaded);
});

test("two polling clients talk, edit, react, type, mark and see each other", async () => {
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
  await Promise.all([alice.outboxEmpty(), carol.outboxEmpty()]);
  await waitUntil("both clients have all messages", () =>
    [alice, carol].every((person) => person.rows(room).length === 20),
  );
  const texts = alice.texts(room);
  for (const who of ["a", "c"]) {
    expect(texts.filter((text) => text.startsWith(who))).toEqual(
      Array.from({ length: 10 }, (_, i) => `${who}${i + 1}`),
    );
  }
  const { seq = 0 } = alice.rows(room).find(({ mine }) => mine) ?? {};
  await editMessage(alice.client.room(room), seq, "edited");
  await react(carol.client.room(room), seq, "👍");
  await waitUntil("the change is visible", () => carol.row(room, seq)?.content === "edited");
  await waitUntil("the change is visible", () => alice.row(room, seq)?.reactions.length === 1);
  // The server drops typing frames between two polls, so the user types until one arrives.
  await waitUntil("she is shown as typing", () => {
    typing(carol.client.room(room)).typed();
    return typing(alice.client.room(room)).get().length === 1;
  });
  carol.client.room(room).markRead(20);
  await waitUntil(
    "the change arrives",
    () => receipts(alice.client.room(room)).get().get(carol.id)?.readSeq === 20,
  );
  for (const person of [alice, carol]) {
    await expectShownEqualsStored(system, person, room);
    await expectAllEmitted(system, person, room);
  }
});

test("broken polls lose no event and send each message once", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  for (let round = 0; round < 5; round++) {
    const fault = (["cut", "reset", "refuse", "cut", "reset"] as const)[round] ?? "cut";
    for (let i = 0; i < 4; i++) {
      alice.client.room(room).send(`a${round}-${i}`);
      await system.post(bob, room, `b${round}-${i}`);
      if (i === 1) for (const number of [0, 1]) await system.stack.link("gateway", number, fault);
    }
    await sleep(150);
    await system.heal();
  }
  await alice.outboxEmpty();
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
  const texts = (await history(system, alice.id, room)).map(({ content }) => content);
  expect(texts.filter((text) => text.startsWith("a"))).toHaveLength(20);
  expect(texts.filter((text) => text.startsWith("b"))).toHaveLength(20);
});

test("a long absence while polling fills the gap or loads the room again", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const [near, far] = [await system.room([alice.id, bob]), await system.room([alice.id, bob])];
  for (const room of [near, far]) {
    await alice.open(room);
    await system.post(bob, room, "before");
    await waitUntil("the message arrives", () => alice.rows(room).length === 1);
  }
  alice.client.disconnect();
  await system.posts(bob, near, 110, `${"long ".repeat(180)}p`);
  await system.posts(bob, far, 270);
  await alice.client.connect();
  await alice.waitUntilLive(near, far);
  for (const room of [near, far]) {
    await expectShownEqualsStored(system, alice, room);
    expectInOrder(alice, room);
    await system.post(bob, room, "live again");
    await waitUntil("the message arrives", () => alice.texts(room).at(-1) === "live again");
  }
  await expectAllEmitted(system, alice, near);
});

test("a polling client leaves a draining node for the other one", async () => {
  const target = { number: 0 };
  const alice = await system.connected(system.name("alice"), {
    url: () => system.stack.gateway(target.number),
  });
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  for (const number of [0, 1]) {
    target.number = 1 - number;
    const drained = system.stack.drain("gateway", number);
    for (let i = 1; i <= 5; i++) {
      alice.client.room(room).send(`a${number}-${i}`);
      await system.post(bob, room, `b${number}-${i}`);
    }
    await drained;
    await alice.outboxEmpty();
    await system.stack.start("gateway", number);
  }
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
});

test("rooms are added and removed while polling", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([bob, alice.id], { name: "New" });
  await waitUntil("the room is listed", () => alice.listed(room)?.name === "New");
  await alice.open(room);
  await alice.send(room, "hello");
  await system.http(bob, "DELETE", `/rooms/${room}/members/${alice.id}`);
  await waitUntil("the room is removed", () => alice.client.room(room).state.get().phase === "removed");
  await waitUntil("the room is not listed", () => alice.listed(room) === undefined);
  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`);
  await alice.waitUntilLive(room);
  await expectShownEqualsStored(system, alice, room);
});

test("a polling client reports a blocked user and a refused token", async () => {
  const id = system.name("alice");
  let ttl = 3600;
  const alice = await system.connected(id, { token: () => system.stack.token(id, { ttl }) });
  await system.http("root", "PUT", `/users/${id}`, { blocked: true }, "tidings.admin");
  await alice.waitForState("disconnected", 40_000);
  expect(alice.client.connection.get().error?.code).toBe("forbidden");
  await system.http("root", "PUT", `/users/${id}`, { blocked: false }, "tidings.admin");
  ttl = -10;
  await expect(alice.client.connect()).rejects.toMatchObject({ code: "unauthorized", reason: "expired" });
  ttl = 3600;
  await alice.client.connect();
});
