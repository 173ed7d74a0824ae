/** A user with more rooms than the kit reads and joins at the start. */
import { expect, test } from "vitest";
import type { LogEvent, TidingsClient } from "../src/index.js";
import { World } from "./support/world.js";

const pad = (number: number) => `r${String(number).padStart(5, "0")}`;

/** A world with this number of rooms, of which `r00000` had activity last. */
function worldOf(count: number): World {
  const world = new World(Array.from({ length: count }, (_, index) => pad(index)));
  for (const [id, room] of world.server.rooms)
    room.createdAt = new Date(Date.UTC(2020, 0, 2) - Number(id.slice(1)) * 60_000).toISOString();
  return world;
}

async function more(world: World, client: TidingsClient): Promise<void> {
  const done = client.rooms.more();
  await world.clock.pass(1_000);
  await done;
}

const listReads = (world: World) => world.server.requests.filter((line) => line.startsWith("GET /me/rooms"));
const ids = (client: TidingsClient) => client.rooms.get().items.map(({ id }) => id);

test("a mention in room 201 gives the event, the row and the badge", async () => {
  const world = worldOf(10_000);
  const client = await world.connected();
  expect(ids(client)).toHaveLength(200);
  const events: LogEvent[] = [];
  client.on("event", (event) => events.push(event));
  const reads = listReads(world).length;
  world.server.say(pad(200), "bob", "hi @alice", ["alice"]);
  await world.clock.pass(1_000);
  expect(client.rooms.get().items[0]).toMatchObject({ id: pad(200), unread: 1, unreadMentions: 1 });
  expect(events).toMatchObject([{ type: "message:new", room: pad(200), content: "hi @alice" }]);
  expect(listReads(world)).toHaveLength(reads);
  // The kit follows the room from now on.
  world.server.say(pad(200), "bob", "more");
  await world.clock.pass(1_000);
  expect(client.rooms.get().items[0]).toMatchObject({ id: pad(200), unread: 2, unreadMentions: 1 });
  expect(events).toHaveLength(2);
  client.close();
});

test("more() misses no room that moved, and lists none twice", async () => {
  const world = worldOf(1_000);
  const client = await world.connected();
  const listed = new Set(ids(client));
  for (let page = 2; client.rooms.get().hasMore; page++) {
    // A room of the next page moves to the head before the page is read. It mentions nobody.
    world.server.say(pad(page * 200 - 150), "bob", "hello");
    await more(world, client);
    for (const id of ids(client)) listed.add(id);
    expect(new Set(ids(client)).size).toBe(ids(client).length);
    expect(ids(client)).toContain(pad(page * 200 - 150));
  }
  expect(listed.size).toBe(1_000);
  client.close();
});

test("more() reads as many pages of the head as have moved", async () => {
  const world = worldOf(1_000);
  const client = await world.connected();
  // More rooms have moved than a page has.
  for (let number = 300; number < 600; number++) world.server.say(pad(number), "bob", "hello");
  await more(world, client);
  for (let number = 300; number < 600; number++) expect(ids(client)).toContain(pad(number));
  client.close();
});

test("plain activity in rooms that are not joined shows within a bounded number of reads", async () => {
  const world = worldOf(10_000);
  const client = await world.connected();
  const reads = listReads(world).length;
  world.server.say(pad(5_000), "bob", "hello");
  await world.clock.pass(66_000);
  expect(client.rooms.get().items[0]).toMatchObject({ id: pad(5_000), unread: 1 });
  await world.clock.pass(600_000);
  expect(listReads(world).length - reads).toBeLessThanOrEqual(11);
  client.close();
  const end = listReads(world).length;
  await world.clock.pass(600_000);
  expect(listReads(world)).toHaveLength(end);
});

test("the head is read after a summary of activity and after a reconnect", async () => {
  const world = worldOf(10_000);
  const client = await world.connected();
  const reads = listReads(world).length;
  world.server.say(pad(6_000), "bob", "hello");
  for (let count = 0; count < 10; count++) {
    world.server.push({ type: "rooms:activity", after_ms: 1_000 });
    await world.clock.pass(50);
  }
  await world.clock.pass(6_000);
  expect(client.rooms.get().items[0]?.id).toBe(pad(6_000));
  expect(listReads(world).length - reads).toBe(1);
  for (const session of [...world.server.sessions]) session.close(1012);
  world.server.say(pad(7_000), "bob", "hello", ["alice"]);
  await world.clock.pass(15_000);
  expect(client.rooms.get().items[0]).toMatchObject({ id: pad(7_000), unreadMentions: 1 });
  client.close();
});

test("activity in all rooms costs a bounded number of pages, and more() goes on there", async () => {
  const world = worldOf(2_000);
  const client = await world.connected();
  while (client.rooms.get().hasMore) await more(world, client);
  const reads = listReads(world).length;
  for (let number = 0; number < 2_000; number++) world.server.say(pad(number), "bob", "hello");
  await world.clock.pass(66_000);
  expect(listReads(world).length - reads).toBe(6);
  expect(client.rooms.get().hasMore).toBe(true);
  let calls = 0;
  for (; client.rooms.get().hasMore; calls++) await more(world, client);
  expect(calls).toBe(4);
  expect(client.rooms.get().items.filter((room) => room.unread === 1)).toHaveLength(2_000);
  client.close();
});

test("rooms with the same time cost a bounded number of reads when all are listed", async () => {
  const world = worldOf(2_000);
  for (const room of world.server.rooms.values())
    room.createdAt = new Date(Date.UTC(2020, 0, 1)).toISOString();
  const client = await world.connected();
  while (client.rooms.get().hasMore) await more(world, client);
  expect(ids(client)).toHaveLength(2_000);
  const reads = listReads(world).length;
  world.server.say(pad(1_999), "bob", "hello");
  await world.clock.pass(66_000);
  expect(client.rooms.get().items[0]?.id).toBe(pad(1_999));
  // The kit follows 1,000 rooms, which are five pages.
  expect(listReads(world).length - reads).toBeLessThanOrEqual(2 * 6);
  client.close();
});

test("a user with few rooms reads the list once", async () => {
  const world = worldOf(200);
  const client = await world.connected();
  world.server.push({ type: "rooms:activity", after_ms: 1_000 });
  await world.clock.pass(600_000);
  expect(listReads(world)).toHaveLength(1);
  client.close();
});

test("a client that closes during a read of the head reads and reports nothing more", async () => {
  const world = worldOf(1_000);
  const client = await world.connected();
  const errors: unknown[] = [];
  client.on("error", (error) => errors.push(error));
  world.server.push({ type: "rooms:activity", after_ms: 0 });
  const reads = listReads(world).length;
  while (listReads(world).length === reads) await world.clock.pass(1);
  client.close();
  await world.clock.pass(600_000);
  expect([listReads(world).length - reads, errors.length]).toEqual([1, 0]);
});

test("a room can be opened although the connection has joined as many rooms as it may", async () => {
  const world = worldOf(1_200);
  world.server.hook = ({ type, room }, { joined }) =>
    type === "room:join" && room && !joined.has(room as string) && joined.size >= 1_000
      ? { type: "error", room, code: "too_large" }
      : undefined;
  const client = await world.connected();
  while (client.rooms.get().hasMore) await more(world, client);
  const [session] = world.server.sessions;
  expect(session?.joined.size).toBe(1_000);
  for (const id of [pad(1_100), pad(1_101)]) {
    client.room(id).open();
    await world.clock.pass(1_000);
    expect(client.room(id).state.get().phase).toBe("live");
  }
  expect([session?.joined.size, session?.joined.has(pad(999)), session?.joined.has(pad(0))]).toEqual([
    1_000,
    false,
    true,
  ]);
  // The kit reads what happens in the room that it left.
  world.server.say(pad(999), "bob", "hello");
  await world.clock.pass(66_000);
  expect(client.rooms.get().items[0]).toMatchObject({ id: pad(999), unread: 1 });
  client.close();
});

test("activity in rooms that cannot be joined reads the list and not each room", async () => {
  const world = worldOf(1_200);
  const client = await world.connected();
  while (client.rooms.get().hasMore) await more(world, client);
  const reads = listReads(world).length;
  const all = world.server.requests.length;
  for (let number = 1_100; number < 1_150; number++) world.server.say(pad(number), "bob", "hi", ["alice"]);
  await world.clock.pass(6_500);
  expect(client.rooms.get().items.filter((room) => room.unreadMentions === 1)).toHaveLength(50);
  expect(world.server.requests.length - all).toBe(listReads(world).length - reads);
  expect(listReads(world).length - reads).toBeLessThanOrEqual(6);
  client.close();
});

test("a room that was read alone does not end a read of the head", async () => {
  const world = worldOf(2_000);
  const client = await world.connected();
  while (client.rooms.get().hasMore) await more(world, client);
  const first = world.server.say(pad(1_999), "bob", "hello") as { seq: number };
  world.server.say(pad(1_999), "bob", "hello");
  await world.clock.pass(66_000);
  for (let number = 1_000; number < 1_300; number++) world.server.say(pad(number), "bob", "hello");
  await world.clock.pass(100);
  // After the mark the kit does not know the count of this room, so it reads the room alone. It cannot join it.
  world.server.say(pad(1_999), "bob", "hello");
  client.room(pad(1_999)).markRead(first.seq);
  await world.clock.pass(66_000);
  const unread = client.rooms.get().items.filter((room) => room.unread > 0);
  expect(unread.length).toBe(301);
  client.close();
});
