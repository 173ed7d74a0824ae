import { expect, test } from "vitest";
import type { RoomPosition } from "../src/index.js";
import { World } from "./support/world.js";

/** A room of `total` messages of bob, of which alice has read the first `read`. */
function worldWithMessages(total: number, read: number): World {
  const world = new World();
  for (let seq = 1; seq <= total; seq++) world.server.appendMessage(`m${seq}`);
  if (read) world.server.room().read.set("alice", read);
  return world;
}

async function openRoomAt(world: World, at: RoomPosition, options: Parameters<World["client"]>[0] = {}) {
  const client = world.client(options);
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  world.server.requests.length = 0;
  const room = client.room("r");
  const release = room.openAround(at);
  await world.clock.pass(1_000);
  expect(room.state.get().phase).toBe("live");
  const pages = () => world.server.requests.filter((request) => request.includes("/messages"));
  const seqs = () => room.messages.get().items.map(({ seq }) => seq);
  const range = () => [seqs()[0], seqs().at(-1)];
  return { client, room, release, pages, seqs, range };
}

test("a room with 3,000 unread messages opens at the first of them with one request", async () => {
  const world = worldWithMessages(5_400, 2_400);
  const { room, pages, range } = await openRoomAt(world, "unread");
  expect(pages()).toEqual(["GET /rooms/r/messages?around=2401&limit=50&upto=5400&system_events=true"]);
  expect(range()[0]).toBeLessThan(2_401);
  expect(range()[1]).toBeGreaterThan(2_401);
  expect(room.messages.get()).toMatchObject({ hasOlder: true, hasNewer: true, loadingNewer: false });
});

test.each([
  ["nothing is unread", 5_400, 5_400],
  ["few messages are unread", 5_400, 5_380],
  ["the user has never read the room", 5_400, 0],
])("a room opens at its end if %s", async (_, total, read) => {
  const { room, pages, range } = await openRoomAt(worldWithMessages(total, read), "unread");
  expect(pages()).toEqual(["GET /rooms/r/messages?limit=50&upto=5400&system_events=true"]);
  expect(range()).toEqual([5_351, 5_400]);
  expect(room.messages.get().hasNewer).toBe(false);
});

test("a room that is opened before the list is known finds its unread messages", async () => {
  const world = worldWithMessages(400, 100);
  const client = world.client();
  const room = client.room("r");
  room.openAround("unread");
  await Promise.all([client.connect(), world.clock.pass(3_000)]);
  const seqs = room.messages.get().items.map(({ seq }) => seq);
  expect(seqs).toContain(101);
  expect(room.messages.get().hasNewer).toBe(true);
});

test("loadNewer reads on to the end of the log, from where the room is live again", async () => {
  const world = worldWithMessages(400, 200);
  const { room, range, seqs } = await openRoomAt(world, "unread");
  let more = true;
  const load = async () => {
    while (more) more = await room.loadNewer(100);
  };
  const done = load();
  await world.clock.pass(7);
  world.server.appendMessage("new");
  world.server.append("r", { type: "message:deleted", target: 399, target_id: "m399-r", by: "bob" });
  await Promise.all([done, world.clock.pass(1_000)]);
  expect(room.messages.get()).toMatchObject({ hasNewer: false, loadingNewer: false });
  expect(range()[1]).toBe(401);
  expect(seqs()).toEqual(Array.from({ length: seqs().length }, (_, at) => (seqs()[0] ?? 0) + at));
  expect(room.messages.get().items.find(({ seq }) => seq === 399)?.deleted).toBe(true);
  world.server.appendMessage("live");
  await world.clock.pass(100);
  expect(room.messages.get().items.at(-1)?.content).toBe("live");
  expect(await room.loadNewer()).toBe(false);
});

test("events during the read of the last page are not lost", async () => {
  const world = worldWithMessages(260, 200);
  // Answers take longer than events.
  const slow = async (...request: Parameters<typeof fetch>) => {
    const answer = await world.fetch(...request);
    await new Promise<void>((done) => world.clock.setTimeout(done, 50));
    return answer;
  };
  const { room, range } = await openRoomAt(world, "unread", { fetch: slow });
  const done = room.loadNewer(100);
  await world.clock.pass(7);
  world.server.appendMessage("new");
  world.server.append("r", { type: "message:deleted", target: 259, target_id: "m259-r", by: "bob" });
  await Promise.all([done, world.clock.pass(1_000)]);
  expect(range()[1]).toBe(261);
  expect(room.messages.get().items.find(({ seq }) => seq === 259)?.deleted).toBe(true);
});

test("new messages stay out of a window that does not reach the end, and changes arrive in it", async () => {
  const world = worldWithMessages(400, 200);
  const { room, range } = await openRoomAt(world, "unread");
  const before = range();
  world.server.appendMessage("far away");
  world.server.append("r", {
    type: "message:edited",
    target: 201,
    target_id: "m201-r",
    by: "bob",
    content: "x",
  });
  await world.clock.pass(100);
  expect(range()).toEqual(before);
  expect(room.messages.get().items.find(({ seq }) => seq === 201)?.content).toBe("x");
});

test("jumpTo moves the window with one request, and needs none inside of it", async () => {
  const world = worldWithMessages(2_000, 2_000);
  const { room, pages, seqs } = await openRoomAt(world, "end");
  const jump = async (at: RoomPosition) => {
    const done = room.jumpTo(at);
    await world.clock.pass(1_000);
    return done;
  };
  expect(await jump(1_990)).toBe(true);
  expect(pages().length).toBe(1);
  expect(await jump(700)).toBe(true);
  expect(seqs()).toContain(700);
  expect(await jump("end")).toBe(true);
  expect(seqs().at(-1)).toBe(2_000);
  expect(room.messages.get().hasNewer).toBe(false);
  expect(pages().length).toBe(3);
});

test("the later of two jumps decides", async () => {
  const world = worldWithMessages(2_000, 2_000);
  const { room, seqs } = await openRoomAt(world, "end");
  const first = room.jumpTo(300);
  await world.clock.pass(4);
  const second = room.jumpTo(900);
  await world.clock.pass(1_000);
  expect(await second).toBe(true);
  expect(await first).toBe(false);
  expect(seqs()).toContain(900);
});

test("a jump in a room that is not open is refused in words", async () => {
  const world = worldWithMessages(10, 0);
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  await expect(client.room("r").jumpTo(3)).rejects.toThrow("The room is not open");
});

test("a send shows the end of the room", async () => {
  const world = worldWithMessages(400, 200);
  const { room } = await openRoomAt(world, "unread");
  room.send("mine");
  expect(room.messages.get().items.at(-1)?.content).toBe("mine");
  await world.clock.pass(1_000);
  expect(room.messages.get()).toMatchObject({ hasNewer: false });
  expect(
    room.messages
      .get()
      .items.slice(-2)
      .map(({ content }) => content),
  ).toEqual(["m400", "mine"]);
});

test("a window keeps its place through a reconnect with a large gap", async () => {
  const world = worldWithMessages(1_000, 400);
  const { room, seqs } = await openRoomAt(world, "unread");
  world.down = true;
  world.cut();
  world.server.append("r", {
    type: "message:edited",
    target: 401,
    target_id: "m401-r",
    by: "bob",
    content: "x",
  });
  for (let i = 0; i < 500; i++) world.server.appendMessage("missed");
  world.server.room().tailStart = 1_400;
  world.down = false;
  await world.clock.pass(10_000);
  expect(room.state.get().phase).toBe("live");
  expect(seqs()).toContain(401);
  expect(room.messages.get().items.find(({ seq }) => seq === 401)?.content).toBe("x");
  expect(room.messages.get().hasNewer).toBe(true);
});

const readMark = (world: World) => world.server.room().read.get("alice") ?? 0;

test("the read mark does not move over messages that were never loaded", async () => {
  const world = worldWithMessages(1_224, 100);
  const { room, client } = await openRoomAt(world, "end");
  expect(room.markRead(1_224)).toBe(false);
  await world.clock.pass(5_000);
  expect(readMark(world)).toBe(100);
  expect(client.rooms.get().items[0]?.unread).toBe(1_124);
  // Loads all messages down to the read mark, so that no unread message is missing.
  let more = true;
  while (more && (room.messages.get().items[0]?.seq ?? 0) > 101) {
    const page = room.loadOlder(200);
    await world.clock.pass(100);
    more = await page;
  }
  expect(room.markRead(1_224)).toBe(true);
  await world.clock.pass(5_000);
  expect(readMark(world)).toBe(1_224);
});

test("the read mark does not move past the window", async () => {
  const world = worldWithMessages(1_224, 100);
  const { room, range } = await openRoomAt(world, "unread");
  expect(room.markRead(1_224)).toBe(true);
  await world.clock.pass(5_000);
  expect(readMark(world)).toBe(range()[1]);
});

test("mark all as read passes gaps", async () => {
  const world = worldWithMessages(1_224, 100);
  const { room } = await openRoomAt(world, "end");
  expect(room.markRead(1_224, { acrossGaps: true })).toBe(true);
  await world.clock.pass(5_000);
  expect(readMark(world)).toBe(1_224);
});

test("events and own messages between the mark and the window are no gap", async () => {
  const world = worldWithMessages(10, 10);
  for (let i = 0; i < 200; i++) world.server.appendMessage("mine, from another device", "alice");
  world.server.appendMessage("unread");
  const { room } = await openRoomAt(world, "end");
  expect(room.messages.get().hasOlder).toBe(true);
  expect(room.markRead(211)).toBe(true);
  await world.clock.pass(5_000);
  expect(readMark(world)).toBe(211);
});

test("a deleted unread message does not hold the read mark", async () => {
  const world = worldWithMessages(10, 10);
  for (let i = 0; i < 200; i++) world.server.appendMessage("mine, from another device", "alice");
  const { room } = await openRoomAt(world, "end");
  world.server.appendMessage("deleted soon");
  world.server.append("r", { type: "message:deleted", target: 211, target_id: "m211-r", by: "bob" });
  world.server.appendMessage("kept");
  await world.clock.pass(100);
  expect(room.state.get().summary?.unread).toBe(1);
  expect(room.markRead(213)).toBe(true);
});

test("a room that is not open is marked as read as a whole", async () => {
  const world = worldWithMessages(300, 0);
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  expect(client.room("r").markRead(300)).toBe(true);
  await world.clock.pass(5_000);
  expect(readMark(world)).toBe(300);
});

test("a newcomer has nothing unread from before", async () => {
  const world = new World(["other"]);
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  world.server.addRoom("r");
  for (let seq = 1; seq <= 300; seq++) world.server.appendMessage(`m${seq}`);
  const from = world.server.head("r");
  for (const session of [...world.server.sessions])
    session.send({ type: "room:added", room: "r", kind: "public", name: "r", role: "member", from });
  await world.clock.pass(5_000);
  expect(client.room("r").state.get().summary).toMatchObject({ unread: 0, readSeq: 300 });
  expect(readMark(world)).toBe(300);
  world.server.appendMessage("first after");
  await world.clock.pass(100);
  expect(client.room("r").state.get().summary?.unread).toBe(1);
});

test("the read mark does not pass unread messages that the summary does not count yet", async () => {
  const world = worldWithMessages(1_000, 995);
  const stale = world.server.object("r", "alice");
  for (let i = 0; i < 200; i++) world.server.appendMessage("missed");
  world.server.room().tailStart = 1_200;
  // The list and the room come from a replica that is behind.
  let behind = true;
  world.server.http = (_, path) => {
    if (!behind || !/^\/(me\/rooms|rooms\/r)$/.test(path)) return undefined;
    return {
      status: 200,
      body: path === "/me/rooms" ? { rooms: [stale], next: null, rooms_version: "v1" } : stale,
    };
  };
  const { room, range } = await openRoomAt(world, "end");
  expect(range()).toEqual([1_151, 1_200]);
  expect(room.markRead(1_200)).toBe(false);
  await world.clock.pass(5_000);
  expect(readMark(world)).toBe(995);
  behind = false;
  await world.clock.pass(60_000);
  expect(room.state.get().summary).toMatchObject({ unread: 205 });
  expect(room.markRead(1_200)).toBe(false);
});

test("the read mark does not pass a gap while the number of unread messages is unknown", async () => {
  const world = worldWithMessages(1_224, 100);
  world.server.http = (_, path) =>
    /^\/(me\/rooms|rooms\/r)$/.test(path) ? { status: 503, body: { code: "unavailable" } } : undefined;
  const { room, range } = await openRoomAt(world, "end");
  expect(range()).toEqual([1_175, 1_224]);
  expect(room.markRead(1_224)).toBe(false);
  await world.clock.pass(5_000);
  expect(readMark(world)).toBe(100);
});

test("the read mark does not pass messages that are missing before an own message", async () => {
  const world = worldWithMessages(100, 100);
  const { room, seqs } = await openRoomAt(world, "end");
  world.down = true;
  world.cut();
  for (let i = 0; i < 1_000; i++) world.server.appendMessage("missed");
  world.server.room().tailStart = 1_100;
  // The answers of HTTP take longer than the acknowledgement of the own message.
  world.server.http = (_, path) =>
    path.endsWith("/messages") ? { status: 503, body: { code: "unavailable" } } : undefined;
  world.down = false;
  room.send("back again");
  await world.clock.pass(3_000);
  expect(seqs().at(-1)).toBe(1_101);
  expect(room.markRead(1_101)).toBe(false);
  await world.clock.pass(2_000);
  expect(readMark(world)).toBe(100);
});

test("the read mark of an open room does not move while its messages are not loaded", async () => {
  const world = worldWithMessages(1_224, 100);
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const room = client.room("r");
  room.open();
  expect(room.markRead(1_224)).toBe(false);
  expect(room.markRead(1_224, { acrossGaps: true })).toBe(true);
});

test("an error of an earlier window is not shown in the next one", async () => {
  const world = worldWithMessages(2_000, 2_000);
  const slow = async (...request: Parameters<typeof fetch>) => {
    if (!String(request[0]).includes("before=")) return world.fetch(...request);
    await new Promise<void>((done) => world.clock.setTimeout(done, 500));
    throw new TypeError("fetch failed");
  };
  const { room } = await openRoomAt(world, "end", { fetch: slow });
  const older = room.loadOlder().catch((error: unknown) => error);
  const jump = room.jumpTo(300);
  await world.clock.pass(60_000);
  expect(await older).toMatchObject({ code: "network" });
  expect(await jump).toBe(true);
  expect(room.messages.get().error).toBeUndefined();
});

test("a room opens at the first unread message although the newest page ends early", async () => {
  const world = worldWithMessages(400, 370);
  // The newest page ends at 1 MiB, as with long messages.
  const { http } = world.server;
  world.server.http = (method, path, body) => {
    const request = world.server.requests.at(-1) ?? "";
    if (!path.endsWith("/messages") || request.includes("around")) return http?.(method, path, body);
    const messages = world.server
      .room()
      .log.slice(-10)
      .map((event) => world.server.message(event, "alice"));
    return {
      status: 200,
      body: { messages, head: world.server.head("r"), has_before: true, has_after: false },
    };
  };
  const { room, pages, seqs } = await openRoomAt(world, "unread");
  expect(pages()).toHaveLength(2);
  expect(seqs()).toContain(371);
  expect(room.messages.get().hasOlder).toBe(true);
  await Promise.all([room.jumpToLatest(), world.clock.pass(1_000)]);
  expect(seqs()).not.toContain(371);
  const [moved] = await Promise.all([room.jumpTo("unread"), world.clock.pass(1_000)]);
  expect(moved).toBe(true);
  expect(seqs()).toContain(371);
});

test("a page that ends before its position is not read again and again", async () => {
  const world = worldWithMessages(400, 159);
  // The server has found no message after the position in time, because very many are private to others.
  const { http } = world.server;
  world.server.http = (method, path, body) => {
    if (!path.endsWith("/messages")) return http?.(method, path, body);
    const messages = world.server
      .room()
      .log.slice(100, 159)
      .map((event) => world.server.message(event, "alice"));
    return {
      status: 200,
      body: { messages, head: world.server.head("r"), has_before: true, has_after: true },
    };
  };
  const { room, pages } = await openRoomAt(world, 160);
  await world.clock.pass(60_000);
  expect(room.state.get().phase).toBe("live");
  expect(pages()).toHaveLength(1);
});

test.each([1_000, 4_500])("a room that is opened again after %i ms begins at its position", async (ms) => {
  const world = worldWithMessages(400, 400);
  const { room, release, seqs } = await openRoomAt(world, "end");
  for (let pages = 0; pages < 4; pages++) await Promise.all([room.loadOlder(), world.clock.pass(100)]);
  expect(seqs()).toContain(160);
  release();
  room.trim();
  await world.clock.pass(ms);
  expect(seqs()).not.toContain(160);
  // A list that is shown at the first page must find the position in it.
  const shown: boolean[] = [];
  room.openAround(160);
  const check = () => {
    const { phase } = room.state.get();
    if (phase === "live" || phase === "catching-up") shown.push(seqs().includes(160));
  };
  room.state.subscribe(check);
  check();
  await world.clock.pass(1_000);
  expect(room.state.get().phase).toBe("live");
  expect(new Set(shown)).toEqual(new Set([true]));
  world.server.appendMessage("while away from the end");
  await world.clock.pass(100);
  await Promise.all([room.jumpToLatest(), world.clock.pass(1_000)]);
  expect(seqs().at(-1)).toBe(401);
});
