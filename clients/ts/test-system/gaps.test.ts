/** Absences with more missed events than the server's tail holds, and new epochs. */

import { expect, test } from "vitest";
import { react } from "../src/changes.js";
import {
  countFrames,
  expectAllEmitted,
  expectInOrder,
  expectShownEqualsStored,
  history,
} from "./support/history.js";
import type { Person, PersonOptions } from "./support/person.js";
import { System } from "./support/system.js";
import { waitUntil } from "./support/until.js";

const system = new System({
  proxied: true,
  gatewayEnv: { TIDINGS_MESSAGES_PER_SECOND: 10_000, TIDINGS_MESSAGES_BURST: 10_000 },
  // A short lease, so that the partitions of a killed node are soon free.
  persistenceEnv: { TIDINGS_LEASE_MS: 2000 },
});

/** Runs something while the users are disconnected. */
async function whileDisconnected(work: () => Promise<unknown>): Promise<void> {
  await system.stack.link("gateway", 0, "refuse");
  await system.stack.link("gateway", 0, "cut");
  await work();
  await system.stack.link("gateway", 0, "heal");
}

async function userInRoom(
  options: PersonOptions = {},
): Promise<{ alice: Person; bob: string; room: string }> {
  const alice = await system.connected(system.name("alice"), { transport: "websocket", ...options });
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  await system.posts(bob, room, 3, "before");
  await waitUntil("the messages arrive", () => alice.rows(room).length === 3);
  return { alice, bob, room };
}

test("a gap beyond the server's tail is filled over HTTP, each event once", async () => {
  const { alice, bob, room } = await userInRoom();
  // 150 events are few enough for a gap fill, and more bytes than the tail holds.
  await whileDisconnected(() => system.posts(bob, room, 150, `${"long ".repeat(150)}p`));
  await alice.waitUntilLive(room);
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
  expect(countFrames(alice.frames, "room:gap")).toBe(1);
  await system.post(bob, room, "live again");
  await waitUntil("the live message arrives", () => alice.texts(room).at(-1) === "live again");
  await expectAllEmitted(system, alice, room);
});

test("live events during a gap fill are not emitted twice", async () => {
  // The page is requested late, so it contains events that have already arrived.
  let releaseFetch = () => {};
  const meanwhile = new Promise<void>((resolve) => {
    releaseFetch = resolve;
  });
  const delayedFetch: typeof fetch = async (input, init) => {
    if (String(input).includes("/events?")) await meanwhile;
    return fetch(input, init);
  };
  const { alice, bob, room } = await userInRoom({ fetch: delayedFetch });
  await whileDisconnected(() => system.posts(bob, room, 120, `${"long ".repeat(180)}p`));
  await waitUntil("the gap frame arrives", () => countFrames(alice.frames, "room:gap") === 1);
  await system.posts(bob, room, 10, "meanwhile");
  await waitUntil("they arrive live", () =>
    alice.frames.some((frame) => frame.type === "message:new" && frame.content === "meanwhile10"),
  );
  releaseFetch();
  await alice.waitUntilLive(room);
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
});

test("a delete that drops the tail does not hide edits, reactions or the delete", async () => {
  const { alice, bob, room } = await userInRoom();
  await whileDisconnected(async () => {
    await system.post(bob, room, "to be edited");
    await system.post(bob, room, "to be deleted");
    await system.http(bob, "PATCH", `/rooms/${room}/messages/4`, { content: "edited" });
    await system.http(bob, "PUT", `/rooms/${room}/messages/1/reactions/👍`);
    await system.http(bob, "DELETE", `/rooms/${room}/messages/5`);
    await system.http(bob, "DELETE", `/rooms/${room}/messages/2`);
    await system.post(bob, room, "last");
  });
  await alice.waitUntilLive(room);
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
  expect(countFrames(alice.frames, "room:gap")).toBe(1);
  expect(alice.row(room, 4)).toMatchObject({ content: "edited", deleted: false });
  expect(alice.row(room, 5)).toMatchObject({ content: "", deleted: true });
  expect(alice.row(room, 2)).toMatchObject({ content: "", deleted: true });
  expect(alice.row(room, 1)?.reactions).toEqual([{ emoji: "👍", count: 1, mine: false, users: [bob] }]);
});

test("a room that is too far behind is loaded again", async () => {
  const { alice, bob, room } = await userInRoom();
  await whileDisconnected(() => system.posts(bob, room, 280));
  await alice.waitUntilLive(room);
  await expectShownEqualsStored(system, alice, room);
  expectInOrder(alice, room);
  const { items, hasOlder } = alice.client.room(room).messages.get();
  expect([items.at(-1)?.content, hasOlder]).toEqual(["p280", true]);
  expect(items.length).toBeLessThanOrEqual(100);
  await system.post(bob, room, "live again");
  await waitUntil("the live message arrives", () => alice.texts(room).at(-1) === "live again");
});

test("an emptied Redis with all messages stored loses nothing and emits nothing twice", async () => {
  const { alice, bob, room } = await userInRoom();
  await alice.send(room, "stored");
  await alice.outboxEmpty();
  await system.stack.emptyRedis();
  await waitUntil("posts are accepted again", () => system.post(bob, room, "in the new epoch"));
  await alice.send(room, "so am I");
  await alice.outboxEmpty();
  await expectShownEqualsStored(system, alice, room);
  expectInOrder(alice, room);
  await whileDisconnected(() => system.posts(bob, room, 5, "missed"));
  await alice.waitUntilLive(room);
  await expectShownEqualsStored(system, alice, room);
});

test("Redis is emptied while the client is away and the room is far ahead", async () => {
  const { alice, bob, room } = await userInRoom();
  await whileDisconnected(async () => {
    await system.posts(bob, room, 5, "old epoch");
    await system.stack.emptyRedis();
    await waitUntil("posts are accepted again", () => system.post(bob, room, "new epoch"));
    await system.posts(bob, room, 5, "new epoch");
  });
  await alice.waitUntilLive(room);
  await expectShownEqualsStored(system, alice, room);
  expectInOrder(alice, room);
});

test("accepted messages lost with Redis are sent again once, and others are dropped", async () => {
  const { alice, room } = await userInRoom();
  const leaver = await system.connected(system.name("leaver"), { transport: "websocket" });
  await system.http(alice.id, "PUT", `/rooms/${room}/members/${leaver.id}`);
  await leaver.open(room);
  await alice.send(room, "stored");
  await Promise.all([
    alice.outboxEmpty(),
    waitUntil("all messages are stored", async () => (await history(system, alice.id, room)).length === 4),
  ]);
  // From now on accepted messages are not stored.
  await system.stack.kill("persistence", 0);
  for (let i = 1; i <= 4; i++) alice.client.room(room).send(`again ${i}`);
  const dropped = leaver.client.room(room).send("never again");
  await waitUntil(
    "all messages are accepted",
    () => alice.rows(room).filter(({ seq }) => seq !== undefined).length === 9,
  );
  expect(alice.texts(room)).toContain("never again");
  leaver.client.outbox.discard(dropped.clientId);
  leaver.client.close();
  await system.stack.emptyRedis();
  await system.stack.start("persistence", 0);
  await alice.outboxEmpty(40_000);
  await expectShownEqualsStored(system, alice, room);
  expect(alice.texts(room).slice(3)).toEqual(["stored", "again 1", "again 2", "again 3", "again 4"]);
  await alice.send(room, "after all");
  await expectShownEqualsStored(system, alice, room);
});

test("an accepted change that is lost with Redis is not shown", async () => {
  const { alice, bob, room } = await userInRoom();
  const leaver = await system.connected(system.name("leaver"), { transport: "websocket" });
  await system.http(bob, "PUT", `/rooms/${room}/members/${leaver.id}`, undefined, "tidings.admin");
  await leaver.open(room);
  await system.stack.kill("persistence", 0);
  const lost = [react(leaver.client.room(room), 1, "👻"), react(leaver.client.room(room), 2, "👻")];
  for (const change of lost) change.catch(() => undefined);
  await waitUntil("both reactions arrive", () =>
    [1, 2].every((seq) => alice.row(room, seq)?.reactions.length === 1),
  );
  leaver.client.close();
  await system.stack.emptyRedis();
  await system.stack.start("persistence", 0);
  await waitUntil("posts are accepted again", () => system.post(bob, room, "in the new epoch"));
  await waitUntil("the message arrives", () => alice.texts(room).at(-1) === "in the new epoch");
  await expectShownEqualsStored(system, alice, room);
  expect(alice.row(room, 1)?.reactions).toEqual([]);
});
