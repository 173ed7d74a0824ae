// Unread counts and mentions follow everything that can change them, by events or by reads that are collected.
import { expect, test } from "vitest";
import type { Session } from "../src/testing.js";
import { World } from "./support/world.js";

/** A client of alice that has read the list with the room `r`. */
async function connectedClient(prepare: (world: World) => void) {
  const world = new World();
  prepare(world);
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const counts = () => {
    const { unread, unreadMentions } = client.rooms.get().items[0] ?? {};
    return [unread, unreadMentions];
  };
  const reads = () => world.server.requests.filter((request) => request === "GET /rooms/r").length;
  return { client, world, counts, reads };
}

/** Appends a change of the message at `target` by its sender. */
const change = (world: World, type: string, target: number, more: object = {}) =>
  world.server.append("r", { type, target, target_id: `m${target}-r`, by: "bob", ...more });

const say = (world: World, count: number, mentions?: string[]) => {
  for (let i = 0; i < count; i++) world.server.say("r", "bob", `${i}`, mentions);
};

test("deletions of messages that the list has counted lower the counts with one read", async () => {
  const { client, world, counts, reads } = await connectedClient((w) => say(w, 5, ["alice"]));
  expect(counts()).toEqual([5, 5]);
  for (const target of [2, 3, 4]) change(world, "message:deleted", target);
  await world.clock.pass(5_000);
  expect(counts()).toEqual([2, 2]);
  expect(reads()).toBe(1);
  await world.clock.pass(300_000);
  expect(reads()).toBe(1);
  client.close();
});

test("an edit that removes or adds a mention changes a count of the list", async () => {
  const { world, counts } = await connectedClient((w) => {
    say(w, 1, ["alice"]);
    say(w, 1);
  });
  expect(counts()).toEqual([2, 1]);
  change(world, "message:edited", 1, { content: "x", mentions: [] });
  await world.clock.pass(5_000);
  expect(counts()).toEqual([2, 0]);
  change(world, "message:edited", 2, { content: "x", mentions: ["alice"] });
  await world.clock.pass(5_000);
  expect(counts()).toEqual([2, 1]);
});

test("an edit of a message that arrived as an event changes the mentions without a read", async () => {
  const { world, counts, reads } = await connectedClient(() => {});
  say(world, 1);
  change(world, "message:edited", 1, { content: "x", mentions: ["alice"] });
  await world.clock.pass(100);
  expect(counts()).toEqual([1, 1]);
  change(world, "message:edited", 1, { content: "y" });
  change(world, "message:edited", 1, { content: "z", mentions: ["carol"] });
  await world.clock.pass(60_000);
  expect(counts()).toEqual([1, 0]);
  expect(reads()).toBe(0);
});

test("changes that cannot change a count cause no read", async () => {
  const { client, world, reads } = await connectedClient((w) => {
    say(w, 2);
    w.server.say("r", "alice", "mine");
    w.server.room().read.set("alice", 1);
  });
  change(world, "message:deleted", 1);
  change(world, "message:edited", 2, { content: "x" });
  change(world, "message:edited", 2, { content: "x", mentions: ["carol"] });
  change(world, "reaction:added", 2, { emoji: "👍" });
  await world.clock.pass(60_000);
  expect(reads()).toBe(0);
  client.room("r").markRead(3);
  change(world, "message:deleted", 2);
  await world.clock.pass(60_000);
  expect(reads()).toBe(0);
});

test("a deletion that is missed during an absence lowers the count after the reconnect", async () => {
  for (const gap of [false, true]) {
    const { world, counts } = await connectedClient((w) => say(w, 3));
    world.down = true;
    world.cut();
    change(world, "message:deleted", 2);
    if (gap) world.server.room().tailStart = 4;
    world.down = false;
    await world.clock.pass(60_000);
    expect(counts()).toEqual([2, 0]);
  }
});

test("counts that the storage does not have yet are read until it has them", async () => {
  const { client, world, counts, reads } = await connectedClient((w) => say(w, 3));
  const before = world.server.object("r", "alice");
  world.server.http = (_method, path) => (path === "/rooms/r" ? { status: 200, body: before } : undefined);
  change(world, "message:deleted", 3);
  await world.clock.pass(4_000);
  expect(counts()).toEqual([3, 0]);
  expect(reads()).toBeGreaterThan(1);
  // A lost connection ends the wait, and the next connection begins it again.
  world.down = true;
  world.cut();
  await world.clock.pass(600_000);
  world.server.http = undefined;
  world.down = false;
  await world.clock.pass(60_000);
  expect(counts()).toEqual([2, 0]);
  client.close();
});

test("an answer without a kept deletion is read again", async () => {
  const { client, world, counts, reads } = await connectedClient(() => {});
  say(world, 3);
  const before = world.server.object("r", "alice");
  change(world, "message:deleted", 2);
  await world.clock.pass(100);
  expect(counts()).toEqual([2, 0]);
  // The room is missing in the list, so it is read alone; that answer is older than the deletion.
  world.server.http = (_method, path) => {
    if (path === "/me/rooms") return { status: 200, body: { rooms: [], next: null, rooms_version: "v1" } };
    return path === "/rooms/r" && reads() === 1 ? { status: 200, body: before } : undefined;
  };
  await Promise.all([client.rooms.reload(), world.clock.pass(5_000)]);
  expect([counts(), reads()]).toEqual([[2, 0], 2]);
  client.close();
});

/** Makes `r` a room of 10,000 members. The random number of the tests is 0.5, so they read after 1 s and about 25 s. */
const makeLarge = (world: World) =>
  world.server.room().others.push(...Array.from({ length: 9_998 }, (_, i) => `user-${i}`));

test("repeated reads of a large room keep their spread", async () => {
  const { client, world, counts, reads } = await connectedClient((w) => {
    say(w, 3);
    makeLarge(w);
  });
  const before = world.server.object("r", "alice");
  world.server.http = (_method, path) => (path === "/rooms/r" ? { status: 200, body: before } : undefined);
  change(world, "message:deleted", 3);
  await world.clock.pass(50_000);
  expect([counts(), reads()]).toEqual([[3, 0], 1]);
  world.server.http = undefined;
  await world.clock.pass(10_000);
  expect([counts(), reads()]).toEqual([[2, 0], 2]);
  client.close();
});

test("the members of a large room do not all read at the same moment", async () => {
  const { world, counts, reads } = await connectedClient((w) => {
    say(w, 3);
    makeLarge(w);
  });
  change(world, "message:deleted", 3);
  await world.clock.pass(25_000);
  expect(reads()).toBe(0);
  await world.clock.pass(5_000);
  expect(counts()).toEqual([2, 0]);
  expect(reads()).toBe(1);
});

/** Makes the event at `target` void. `message` is the message that this event changed. */
function makeVoid(world: World, target: number, message?: number): void {
  world.server.room().log[target - 1] = { type: "void", room: "r", seq: target, at: world.server.at() };
  const fields = { client_id: "x", by: "bob", reason: "rejected" };
  world.server.append("r", { type: "message:void", target, message, ...fields });
}

test("a deletion that became void is counted again", async () => {
  const { world, counts } = await connectedClient(() => {});
  say(world, 2);
  const { seq } = change(world, "message:deleted", 2);
  await world.clock.pass(100);
  expect(counts()).toEqual([1, 0]);
  makeVoid(world, seq as number, 2);
  await world.clock.pass(5_000);
  expect(counts()).toEqual([2, 0]);
});

test("voids of changes that were not counted cause no read", async () => {
  const { world, counts, reads } = await connectedClient((w) => {
    say(w, 1);
    change(w, "reaction:added", 1, { emoji: "🎉" });
    w.server.room().read.set("alice", 1);
  });
  say(world, 1);
  const reaction = change(world, "reaction:added", 3, { emoji: "👍" });
  const edit = change(world, "message:edited", 3, { content: "x" });
  for (const { seq } of [reaction, edit]) makeVoid(world, seq as number, 3);
  // An unknown change of a message that came as an event.
  makeVoid(world, 2, 3);
  await world.clock.pass(60_000);
  expect([counts(), reads()]).toEqual([[1, 0], 0]);
});

test("an unknown change that became void is counted again", async () => {
  const { world, reads } = await connectedClient((w) => {
    say(w, 2);
    change(w, "message:deleted", 2);
  });
  makeVoid(world, 3, 2);
  await world.clock.pass(5_000);
  expect(reads()).toBe(1);
});

test("a void last message is read again after the spread", async () => {
  const { client, world, reads } = await connectedClient(makeLarge);
  const last = () => client.rooms.get().items[0]?.lastMessage?.seq;
  say(world, 2);
  await world.clock.pass(100);
  expect(last()).toBe(2);
  makeVoid(world, 2);
  await world.clock.pass(20_000);
  expect(reads()).toBe(0);
  await world.clock.pass(10_000);
  expect([last(), reads()]).toEqual([1, 1]);
  client.close();
});

test("more messages than are counted keep their mentions, and deletions lower the count", async () => {
  const { world, counts } = await connectedClient(() => {});
  say(world, 1, ["alice"]);
  say(world, 249);
  await world.clock.pass(1_000);
  expect(counts()).toEqual([100, 1]);
  for (let target = 11; target <= 250; target++) change(world, "message:deleted", target);
  await world.clock.pass(10_000);
  expect(counts()).toEqual([10, 1]);
});

test("a mark on another device below a message far before the head keeps the rest unread", async () => {
  const world = new World();
  say(world, 2);
  // The server names no last message that is more than 2,000 events before the head.
  world.server.http = (_method, path) => {
    const room = { ...world.server.object("r", "alice"), last_message: null };
    const body = path === "/me/rooms" ? { rooms: [room], next: null, rooms_version: "v1" } : room;
    return path === "/me/rooms" || path === "/rooms/r" ? { status: 200, body } : undefined;
  };
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const [session] = world.server.sessions as Iterable<Session>;
  world.server.room().read.set("alice", 1);
  session?.send({
    type: "receipt:read",
    room: "r",
    marks: [{ user: "alice", seq: 1, at: world.server.at() }],
  });
  await world.clock.pass(10_000);
  expect(client.rooms.get().items[0]).toMatchObject({ readSeq: 1, unread: 1 });
});

test("a removed user reads no counts again", async () => {
  const { client, world, reads } = await connectedClient((w) => say(w, 3));
  change(world, "message:deleted", 3);
  await world.clock.pass(100);
  world.server.push({ type: "room:removed", room: "r", seq: 99 });
  await world.clock.pass(120_000);
  expect(reads()).toBe(0);
  client.close();
});
