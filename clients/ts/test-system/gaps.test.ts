/** Away for longer than the server remembers, and a server whose memory begins anew. */

import { expect, test } from "vitest";
import { react } from "../src/changes.js";
import { count, expectAllTold, expectInOrder, expectWhole, history } from "./support/history.js";
import type { Person, PersonOptions } from "./support/person.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({
  proxied: true,
  gatewayEnv: { TIDINGS_MESSAGES_PER_SECOND: 10_000, TIDINGS_MESSAGES_BURST: 10_000 },
});

/** Does something while nobody is connected. */
async function away(work: () => Promise<unknown>): Promise<void> {
  await system.stack.link("gateway", 0, "refuse");
  await system.stack.link("gateway", 0, "cut");
  await work();
  await system.stack.link("gateway", 0, "heal");
}

async function inRoom(options: PersonOptions = {}): Promise<{ alice: Person; bob: string; room: string }> {
  const alice = await system.connected(system.name("alice"), { transport: "websocket", ...options });
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  await system.posts(bob, room, 3, "before");
  await until("it has heard", () => alice.rows(room).length === 3);
  return { alice, bob, room };
}

test("more missed than the server remembers: the gap is filled over HTTP, each event once", async () => {
  const { alice, bob, room } = await inRoom();
  // 150 positions are within reach of a fill, and more bytes than are remembered.
  await away(() => system.posts(bob, room, 150, `${"long ".repeat(150)}p`));
  await alice.live(room);
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
  expect(count(alice.frames, "room:gap")).toBe(1);
  await system.post(bob, room, "live again");
  await until("it hears what is live", () => alice.texts(room).at(-1) === "live again");
  await expectAllTold(system, alice, room);
});

test("others talk on while the gap is being filled: what came live is not told again", async () => {
  // The page is asked for late, and tells of what has come live meanwhile.
  const late: typeof fetch = async (input, init) => {
    if (String(input).includes("/events?")) await rest(500);
    return fetch(input, init);
  };
  const { alice, bob, room } = await inRoom({ fetch: late });
  await away(() => system.posts(bob, room, 120, `${"long ".repeat(180)}p`));
  await until("the gap is told of", () => count(alice.frames, "room:gap") === 1);
  await system.posts(bob, room, 10, "meanwhile");
  await alice.live(room);
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
});

test("a delete while away makes the server forget: edits, reactions and the delete are known all the same", async () => {
  const { alice, bob, room } = await inRoom();
  await away(async () => {
    await system.post(bob, room, "to be edited");
    await system.post(bob, room, "to be deleted");
    await system.http(bob, "PATCH", `/rooms/${room}/messages/4`, { content: "edited" });
    await system.http(bob, "PUT", `/rooms/${room}/messages/1/reactions/👍`);
    await system.http(bob, "DELETE", `/rooms/${room}/messages/5`);
    await system.http(bob, "DELETE", `/rooms/${room}/messages/2`);
    await system.post(bob, room, "last");
  });
  await alice.live(room);
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
  expect(count(alice.frames, "room:gap")).toBe(1);
  expect(alice.row(room, 4)).toMatchObject({ content: "edited", deleted: false });
  expect(alice.row(room, 5)).toMatchObject({ content: "", deleted: true });
  expect(alice.row(room, 2)).toMatchObject({ content: "", deleted: true });
  expect(alice.row(room, 1)?.reactions).toEqual([{ emoji: "👍", count: 1, mine: false, users: [bob] }]);
});

test("further behind than is worth filling the room is loaded anew", async () => {
  const { alice, bob, room } = await inRoom();
  await away(() => system.posts(bob, room, 280));
  await alice.live(room);
  await expectWhole(system, alice, room);
  expectInOrder(alice, room);
  const { items, hasOlder } = alice.client.room(room).messages.get();
  expect([items.at(-1)?.content, hasOlder]).toEqual(["p280", true]);
  expect(items.length).toBeLessThanOrEqual(100);
  await system.post(bob, room, "live again");
  await until("it hears what is live", () => alice.texts(room).at(-1) === "live again");
});

test("Redis is emptied while nothing is in doubt: the room goes on, and nothing is told twice", async () => {
  const { alice, bob, room } = await inRoom();
  await alice.say(room, "stored");
  await alice.emptied();
  await system.stack.emptyRedis();
  await until("posts are taken again", () => system.post(bob, room, "in the new epoch"));
  await alice.say(room, "so am I");
  await alice.emptied();
  await expectWhole(system, alice, room);
  expectInOrder(alice, room);
  await away(() => system.posts(bob, room, 5, "missed"));
  await alice.live(room);
  await expectWhole(system, alice, room);
});

test("Redis is emptied while away, and while the room is far ahead", async () => {
  const { alice, bob, room } = await inRoom();
  await away(async () => {
    await system.posts(bob, room, 5, "old epoch");
    await system.stack.emptyRedis();
    await until("posts are taken again", () => system.post(bob, room, "new epoch"));
    await system.posts(bob, room, 5, "new epoch");
  });
  await alice.live(room);
  await expectWhole(system, alice, room);
  expectInOrder(alice, room);
});

test("what was accepted and is lost with Redis is sent again, once; what was never sent again is dropped", async () => {
  const { alice, room } = await inRoom();
  const ghost = await system.connected(system.name("ghost"), { transport: "websocket" });
  await system.http(alice.id, "PUT", `/rooms/${room}/members/${ghost.id}`);
  await ghost.open(room);
  await alice.say(room, "stored");
  await Promise.all([
    alice.emptied(),
    until("all are stored", async () => (await history(system, alice.id, room)).length === 4),
  ]);
  // Nobody writes down what is accepted from now on.
  await system.stack.kill("persistence", 0);
  for (let i = 1; i <= 4; i++) alice.client.room(room).send(`again ${i}`);
  const haunting = ghost.client.room(room).send("never again");
  await until("all are accepted", () => alice.rows(room).filter(({ seq }) => seq !== undefined).length === 9);
  expect(alice.texts(room)).toContain("never again");
  ghost.client.outbox.discard(haunting.clientId);
  ghost.client.close();
  await system.stack.emptyRedis();
  await system.stack.start("persistence", 0);
  await alice.emptied(40_000);
  await expectWhole(system, alice, room);
  expect(alice.texts(room).slice(3)).toEqual(["stored", "again 1", "again 2", "again 3", "again 4"]);
  await rest(200);
  await alice.say(room, "after all");
  await expectWhole(system, alice, room);
});

test("a change that was accepted and is lost with Redis is not shown any more", async () => {
  const { alice, bob, room } = await inRoom();
  const ghost = await system.connected(system.name("ghost"), { transport: "websocket" });
  await system.http(bob, "PUT", `/rooms/${room}/members/${ghost.id}`, undefined, "tidings.admin");
  await ghost.open(room);
  await system.stack.kill("persistence", 0);
  const lost = [react(ghost.client.room(room), 1, "👻"), react(ghost.client.room(room), 2, "👻")];
  for (const change of lost) change.catch(() => undefined);
  await until("both are seen", () => [1, 2].every((seq) => alice.row(room, seq)?.reactions.length === 1));
  ghost.client.close();
  await system.stack.emptyRedis();
  await system.stack.start("persistence", 0);
  await until("posts are taken again", () => system.post(bob, room, "in the new epoch"));
  await until("it is heard", () => alice.texts(room).at(-1) === "in the new epoch");
  await expectWhole(system, alice, room);
  expect(alice.row(room, 1)?.reactions).toEqual([]);
});
