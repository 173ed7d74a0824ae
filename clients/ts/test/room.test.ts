// The public state of a room, tested with one scripted server. The tests share it, so the file is long.
import fc from "fast-check";
import { expect, test } from "vitest";
import { editMessage, react, unreact } from "../src/changes.js";
import type { LogEvent, Message } from "../src/index.js";
import { receipts, typing } from "../src/live.js";
import { applyChange } from "../src/room/fold.js";
import type { Json, Session } from "../src/testing.js";
import { contents, openRoom, World } from "./support/world.js";

const sessionOf = (world: World) => [...world.server.sessions][0] as Session;

/** Disconnects while other users send messages. */
async function whileDisconnected(world: World, meanwhile: () => void) {
  world.down = true;
  world.cut();
  meanwhile();
  world.down = false;
  await world.clock.pass(60_000);
}

test("a returning client receives each missed event once", async () => {
  const { world, room, client } = await openRoom();
  const events: number[] = [];
  client.on("event", ({ seq }) => events.push(seq));
  world.server.appendMessage("a");
  await world.clock.pass(100);
  await whileDisconnected(world, () => {
    world.server.appendMessage("b");
    world.server.appendMessage("c");
  });
  expect(contents(room)).toEqual(["a", "b", "c"]);
  expect(events).toEqual([1, 2, 3]);
  expect(world.server.requests.filter((request) => request.includes("/events"))).toEqual([]);
});

test("a gap is filled page by page, live events wait, and nothing is shown twice", async () => {
  const { world, room, client } = await openRoom({ windowSize: 1_000 });
  const events: number[] = [];
  client.on("event", ({ seq }) => events.push(seq));
  world.server.appendMessage("0");
  await world.clock.pass(100);
  await whileDisconnected(world, () => {
    for (let i = 1; i <= 150; i++) world.server.appendMessage(`${i}`);
    world.server.room().tailStart = 151;
    let live = 0;
    world.server.http = (_, path) => {
      if (path.endsWith("/events") && live++ < 3) world.server.appendMessage(`live ${live}`);
      return undefined;
    };
  });
  expect(contents(room)).toEqual(world.server.contents());
  expect(events).toEqual(events.map((_, i) => i + 1));
  expect(world.server.requests).toContain("GET /rooms/r/events?after=1&epoch=1&upto=151&limit=200");
});

test("a room more than 200 events behind is loaded again, up to the gap's head", async () => {
  const { world, room } = await openRoom();
  await whileDisconnected(world, () => {
    for (let i = 1; i <= 300; i++) world.server.appendMessage(`${i}`);
    world.server.room().tailStart = 300;
  });
  expect(contents(room)).toEqual(world.server.contents().slice(-50));
  expect(room.messages.get().hasOlder).toBe(true);
  expect(world.server.requests.some((request) => request.includes("messages?limit=50&upto=300"))).toBe(true);
  expect(world.server.requests.some((request) => request.includes("/events"))).toBe(false);
});

test("a new epoch drops rows above the gap and sends accepted messages again", async () => {
  const { world, room, client } = await openRoom();
  world.server.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  room.send("accepted only");
  await world.clock.pass(100);
  expect(room.messages.get().items).toMatchObject([{ status: "sent", stored: false, seq: 1 }]);
  await whileDisconnected(world, () => {
    // Redis loses its data before the message is stored.
    world.server.room().log = [];
    world.server.beginEpoch();
    world.server.appendMessage("of the new epoch");
    world.server.hook = undefined;
  });
  expect(contents(room)).toEqual(["of the new epoch", "accepted only"]);
  expect(world.server.contents()).toEqual(["of the new epoch", "accepted only"]);
  expect(client.outbox.get()).toEqual([]);
});

test("a new epoch hides lost messages and does not count them as accepted", async () => {
  const { world, room } = await openRoom();
  world.server.appendMessage("kept");
  await world.clock.pass(100);
  world.server.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  world.server.appendMessage("lost");
  room.send("mine");
  await world.clock.pass(100);
  expect(room.messages.get().items.map(({ status }) => status)).toEqual(["sent", "sent", "sent"]);
  await whileDisconnected(world, () => {
    world.server.room().log.length = 1;
    world.server.beginEpoch();
    world.server.hook = (frame) => (frame.type === "message:send" ? "lose" : undefined);
  });
  expect(contents(room)).toEqual(["kept", "mine"]);
  expect(room.messages.get().items[1]?.status).not.toBe("sent");
});

test("a new epoch hides lost changes", async () => {
  const { world, room } = await openRoom();
  const { id } = world.server.appendMessage("as it was");
  await world.clock.pass(100);
  world.server.append("r", {
    type: "message:edited",
    target: 1,
    target_id: id,
    by: "bob",
    content: "never was",
  });
  await world.clock.pass(100);
  expect(contents(room)).toEqual(["never was"]);
  await whileDisconnected(world, () => {
    world.server.room().log.length = 1;
    world.server.beginEpoch();
    world.server.append("r", { type: "reaction:added", target: 1, target_id: id, by: "bob", emoji: "👍" });
  });
  expect(room.messages.get().items).toMatchObject([
    { content: "as it was", lastSeq: 2, reactions: [{ count: 1 }] },
  ]);
});

test("a change that a page already contains, or of another message, changes nothing", () => {
  const message = {
    id: "m",
    content: "now",
    lastSeq: 10,
    deleted: false,
    reactions: [],
  } as unknown as Message;
  const edit = { type: "message:edited", room: "r", target: 1, target_id: "m", by: "bob", at: "x" } as const;
  expect(applyChange(message, { ...edit, seq: 10, content: "old" }, "me")).toBe(message);
  expect(applyChange(message, { ...edit, seq: 11, target_id: "n", content: "other" }, "me")).toBe(message);
  expect(applyChange(message, { ...edit, seq: 11, content: "new" }, "me")).toMatchObject({
    content: "new",
    lastSeq: 11,
  });
});

test("a deleted message shows who deleted it, also when it was deleted before the room is opened", async () => {
  const world = new World();
  for (const text of ["one", "two"]) world.server.appendMessage(text);
  const erase = (target: number, by: string) =>
    world.server.append("r", { type: "message:deleted", target, target_id: `m${target}-r`, by });
  erase(1, "root");
  const { room } = await openRoom({}, world);
  erase(2, "bob");
  await world.clock.pass(100);
  const shown = room.messages.get().items.map(({ deleted, deletedBy }) => [deleted, deletedBy]);
  expect(shown).toEqual([
    [true, "root"],
    [true, "bob"],
  ]);
});

test("an answer that the epoch is over makes the kit read again", async () => {
  const { world, room } = await openRoom();
  world.server.appendMessage("a");
  await world.clock.pass(100);
  let refused = 0;
  world.server.http = (_, path) =>
    path.endsWith("/events") && refused++ === 0
      ? { status: 409, body: { code: "conflict", after: 0 } }
      : undefined;
  await whileDisconnected(world, () => {
    world.server.appendMessage("b");
    world.server.room().tailStart = 2;
  });
  expect(refused).toBe(1);
  expect(contents(room)).toEqual(["a", "b"]);
  expect(room.state.get().phase).toBe("live");
});

test("the kit waits for storage that lags behind, and the cursor never goes back", async () => {
  const { world, room } = await openRoom();
  world.server.appendMessage("a");
  await world.clock.pass(100);
  let lagging = 4;
  world.server.http = (_, path) =>
    path.endsWith("/events") && lagging-- > 0
      ? {
          status: 200,
          body: { events: [], next: { epoch: "1", seq: 0 }, head: { epoch: "1", seq: 0 }, more: false },
        }
      : undefined;
  await whileDisconnected(world, () => {
    world.server.appendMessage("b");
    world.server.room().tailStart = 2;
  });
  expect(contents(room)).toEqual(["a", "b"]);
  const eventRequests = world.server.requests.filter((request) => request.includes("/events"));
  expect(eventRequests.length).toBe(5);
  expect(new Set(eventRequests).size).toBe(1);
});

test("older pages are prepended once each until the beginning, and trim drops them", async () => {
  const world = new World();
  for (let i = 1; i <= 120; i++) world.server.appendMessage(`${i}`);
  const { room } = await openRoom({ windowSize: 60 }, world);
  expect(contents(room)).toEqual(world.server.contents().slice(-50));
  const more = room.loadOlder(40);
  expect(room.messages.get().loadingOlder).toBe(true);
  await world.clock.pass(100);
  expect(await more).toBe(true);
  const rest = [room.loadOlder(40), room.loadOlder(40)];
  await world.clock.pass(100);
  expect(await Promise.all(rest)).toEqual([false, false]);
  expect(contents(room)).toEqual(world.server.contents());
  expect(await room.loadOlder()).toBe(false);
  room.trim();
  expect(contents(room)).toEqual(world.server.contents().slice(-60));
  expect(room.messages.get().hasOlder).toBe(true);
});

test("a slow older page joins the held rows without a hole", async () => {
  const world = new World();
  for (let i = 1; i <= 60; i++) world.server.appendMessage(`${i}`);
  const { room } = await openRoom({ windowSize: 50 }, world);
  const request = world.server.request.bind(world.server);
  world.server.request = async (...args) => {
    const answer = await request(...args);
    if (args[1].includes("before="))
      await new Promise<void>((resolve) => world.clock.setTimeout(resolve, 1_000));
    return answer;
  };
  const loaded = room.loadOlder();
  for (let i = 61; i <= 80; i++) world.server.appendMessage(`${i}`);
  await world.clock.pass(2_000);
  await loaded;
  expect(contents(room)).toEqual(world.server.contents());
});

test("the peer of a direct room is found, also before their first message", async () => {
  const world = new World();
  const object = world.server.object.bind(world.server);
  world.server.object = (id, me) => ({ ...object(id, me), kind: "direct", name: null, created_by: me });
  let memberReads = 0;
  world.server.http = (_, path) => {
    if (!path.endsWith("/members")) return undefined;
    memberReads++;
    const members = [
      { user: "alice", role: "owner" },
      { user: "bob", name: "Bob", role: "member" },
    ];
    return { status: 200, body: { members, next: null } };
  };
  const { client } = await openRoom({}, world);
  expect(client.rooms.get().items[0]?.peer).toEqual({ user: "bob", name: "Bob" });
  await world.clock.pass(10_000);
  expect(memberReads).toBe(1);
});

test("the number of rows is limited by the window", async () => {
  const { world, room } = await openRoom({ windowSize: 10 });
  for (let i = 0; i < 30; i++) world.server.appendMessage(`${i}`);
  await world.clock.pass(100);
  expect(contents(room)).toEqual(world.server.contents().slice(-10));
  expect(room.messages.get().hasOlder).toBe(true);
});

test("a change during the read of its page is not lost", async () => {
  const world = new World();
  for (let i = 1; i <= 80; i++) world.server.appendMessage(`${i}`);
  const { room } = await openRoom({}, world);
  let changed = false;
  const request = world.server.request.bind(world.server);
  world.server.request = async (...args) => {
    const answer = await request(...args);
    // The page was created before the change and arrives after its event.
    if (args[1].includes("before=") && !changed) {
      changed = true;
      const target = world.server.room().log[9] as Json;
      world.server.append("r", {
        type: "message:edited",
        target: 10,
        target_id: target.id,
        by: "bob",
        content: "new",
      });
      await new Promise<void>((resolve) => world.clock.setTimeout(resolve, 50));
    }
    return answer;
  };
  const loaded = room.loadOlder();
  await world.clock.pass(1_000);
  await loaded;
  expect(room.messages.get().items.find(({ seq }) => seq === 10)?.content).toBe("new");
});

test("a change of the user's own role loads the room again", async () => {
  const { world, room } = await openRoom();
  world.server.appendMessage("seen");
  await world.clock.pass(100);
  const before = world.server.requests.length;
  world.server.append("r", { type: "member:changed", user: "alice", role: "admin", by: "bob" });
  world.server.appendMessage("after");
  await world.clock.pass(2_000);
  expect(world.server.requests.slice(before).some((request) => request.includes("/messages"))).toBe(true);
  expect(contents(room)).toEqual(["seen", "after"]);
  expect(room.state.get().phase).toBe("live");
});

test("a removal ends a room unless a later addition exists", async () => {
  const { world, room, client } = await openRoom();
  world.server.appendMessage("a");
  await world.clock.pass(100);
  sessionOf(world).send({ type: "room:removed", room: "r", seq: 2 });
  await world.clock.pass(100);
  expect(room.state.get().phase).toBe("removed");
  expect(client.rooms.get().items).toEqual([]);
  world.server.appendMessage("while away");
  sessionOf(world).send({
    type: "room:added",
    room: "r",
    kind: "private",
    name: "r",
    role: "member",
    from: { epoch: "1", seq: 2 },
  });
  sessionOf(world).send({ type: "room:removed", room: "r", seq: 2 });
  await world.clock.pass(1_000);
  expect(room.state.get().phase).toBe("live");
  expect(contents(room)).toEqual(["a", "while away"]);
  expect(client.rooms.get().items.length).toBe(1);
});

test("a change in one room does not change the objects of another", async () => {
  const world = new World(["r", "other"]);
  const { room, client } = await openRoom({}, world);
  const other = client.room("other");
  other.open();
  await world.clock.pass(1_000);
  const { messages, state } = other;
  const [typingStore, marks] = [typing(other), receipts(other)];
  const before = [messages.get(), state.get(), typingStore.get(), marks.get()];
  let notifications = 0;
  for (const store of [messages, state, typingStore, marks]) store.subscribe(() => notifications++);
  world.server.appendMessage("x", "bob", "r");
  await world.clock.pass(100);
  expect(contents(room)).toEqual(["x"]);
  const after = [messages.get(), state.get(), typingStore.get(), marks.get()];
  expect(after.every((value, i) => value === before[i])).toBe(true);
  expect(notifications).toBe(0);
});

test("unchanged rows stay the same objects", async () => {
  const { world, room } = await openRoom();
  world.server.appendMessage("a");
  world.server.appendMessage("b");
  await world.clock.pass(100);
  const [a] = room.messages.get().items;
  world.server.appendMessage("c");
  await world.clock.pass(100);
  expect(room.messages.get().items[0]).toBe(a);
  expect(room.messages.get()).toBe(room.messages.get());
});

test("unread counts the messages of others above the mark, and a mark reduces it", async () => {
  const world = new World(["r", "other"]);
  for (let i = 0; i < 3; i++) world.server.appendMessage("old", "bob", "other");
  const { client, room } = await openRoom({}, world);
  const marks = receipts(room);
  const unread = (id: string) => client.rooms.get().items.find((item) => item.id === id)?.unread;
  expect(unread("other")).toBe(3);
  world.server.appendMessage("new", "bob", "other");
  world.server.appendMessage("mine", "alice", "other");
  await world.clock.pass(100);
  expect(unread("other")).toBe(4);
  client.room("other").markRead(5);
  expect(unread("other")).toBe(0);
  await world.clock.pass(1_000);
  expect(world.server.seen.filter((frame) => frame.type === "message:read")).toMatchObject([
    { room: "other", seq: 5 },
  ]);
  world.server.appendMessage("x");
  await world.clock.pass(100);
  expect(unread("r")).toBe(1);
  // Another device moves the mark.
  sessionOf(world).send({ type: "receipt:read", room: "r", marks: [{ user: "alice", seq: 1, at: "x" }] });
  await world.clock.pass(100);
  expect(unread("r")).toBe(0);
  expect(marks.get().get("alice")).toEqual({ readSeq: 1, deliveredSeq: 1 });
});

test("marks are combined, never move back, and repeat until they are confirmed", async () => {
  const { world, room } = await openRoom();
  for (let i = 0; i < 5; i++) world.server.appendMessage(`${i}`);
  await world.clock.pass(100);
  room.markRead(1);
  room.markRead(4);
  room.markRead(2);
  world.server.hook = (frame) => (frame.type === "message:read" ? "lose" : undefined);
  await world.clock.pass(3_000);
  world.down = true;
  world.cut();
  world.server.hook = undefined;
  world.down = false;
  await world.clock.pass(10_000);
  const marks = world.server.seen.filter((frame) => frame.type === "message:read").map((frame) => frame.seq);
  expect(marks).toEqual([4, 4]);
  const delivered = world.server.seen
    .filter((frame) => frame.type === "message:delivered")
    .map((frame) => frame.seq);
  expect(delivered).toEqual([5]);
});

test("typing is sent once a second, stops after two, and expires for others", async () => {
  const { world, room } = await openRoom();
  for (let i = 0; i < 15; i++) {
    typing(room).typed();
    await world.clock.pass(200);
  }
  await world.clock.pass(3_000);
  const typingFrames = world.server.seen.filter((frame) => (frame.type as string).startsWith("typing"));
  expect(typingFrames.map((frame) => frame.type)).toEqual([
    "typing:start",
    "typing:start",
    "typing:start",
    "typing:stop",
  ]);
  sessionOf(world).send({
    type: "typing:start",
    room: "r",
    user: { id: "bob", name: "Bob" },
    expires_ms: 2_000,
  });
  sessionOf(world).send({ type: "typing:start", room: "r", user: { id: "eve" }, expires_ms: 2_000 });
  sessionOf(world).send({ type: "typing:start", room: "r", user: { id: "alice" }, expires_ms: 2_000 });
  await world.clock.pass(100);
  expect(typing(room).get()).toEqual([{ id: "bob", name: "Bob" }, { id: "eve" }]);
  world.server.appendMessage("done", "bob");
  await world.clock.pass(100);
  expect(typing(room).get()).toEqual([{ id: "eve" }]);
  await world.clock.pass(2_000);
  expect(typing(room).get()).toEqual([]);
});

test("a reaction is shown at once and removed when it is refused", async () => {
  const { world, room } = await openRoom();
  world.server.appendMessage("nice");
  await world.clock.pass(100);
  const reactions = () => room.messages.get().items[0]?.reactions;
  const reacting = react(room, 1, "👍");
  expect(reactions()).toEqual([{ emoji: "👍", count: 1, mine: true, users: ["alice"] }]);
  await world.clock.pass(1_000);
  await reacting;
  expect(reactions()).toEqual([{ emoji: "👍", count: 1, mine: true, users: ["alice"] }]);
  world.server.hook = (frame) =>
    frame.type === "reaction:remove" ? { type: "error", code: "conflict" } : undefined;
  const refused = unreact(room, 1, "👍");
  expect(reactions()).toEqual([]);
  await Promise.all([expect(refused).rejects.toMatchObject({ code: "conflict" }), world.clock.pass(1_000)]);
  expect(reactions()).toEqual([{ emoji: "👍", count: 1, mine: true, users: ["alice"] }]);
});

test("another spelling of an emoji is the same reaction", async () => {
  const { world, room } = await openRoom();
  const id = world.server.appendMessage("nice").id;
  const change = (type: string, by: string, emoji: string) =>
    world.server.append("r", { type, target: 1, target_id: id, by, emoji });
  change("reaction:added", "bob", "❤\ufe0f");
  change("reaction:added", "carol", "❤");
  await world.clock.pass(100);
  const reactions = () => room.messages.get().items[0]?.reactions;
  expect(reactions()).toMatchObject([{ emoji: "❤\ufe0f", count: 2 }]);
  change("reaction:removed", "bob", "❤\ufe0e");
  await world.clock.pass(100);
  expect(reactions()).toEqual([{ emoji: "❤\ufe0f", count: 1, mine: false, users: ["carol"] }]);
});

test("a change is repeated under one client id across a reconnect and applied once", async () => {
  const { world, room } = await openRoom();
  world.server.appendMessage("x", "alice");
  await world.clock.pass(100);
  let lost = 0;
  world.server.hook = (frame) => (frame.type === "message:edit" && lost++ === 0 ? "lose-answer" : undefined);
  const edited = editMessage(room, 1, "y");
  await world.clock.pass(100);
  world.cut();
  await world.clock.pass(10_000);
  await edited;
  expect(contents(room)).toEqual(["y"]);
  expect(world.server.room().log.filter((event) => event.type === "message:edited").length).toBe(1);
});

test("the message is read again when more users reacted than are named", async () => {
  const world = new World();
  const first = world.server.appendMessage("liked");
  for (let i = 0; i < 25; i++) {
    world.server.append("r", {
      type: "reaction:added",
      target: 1,
      target_id: first.id,
      by: `u${i}`,
      emoji: "👍",
    });
  }
  const { room } = await openRoom({}, world);
  const count = () => room.messages.get().items[0]?.reactions[0]?.count;
  expect(count()).toBe(25);
  world.server.append("r", {
    type: "reaction:added",
    target: 1,
    target_id: first.id,
    by: "u24",
    emoji: "👍",
  });
  world.server.append("r", {
    type: "reaction:removed",
    target: 1,
    target_id: first.id,
    by: "u23",
    emoji: "👍",
  });
  await world.clock.pass(5_000);
  expect(count()).toBe(24);
  expect(world.server.requests.some((request) => request.includes("before=2&limit=1&upto=28"))).toBe(true);
});

test("a void removes its message or reads the changed message again", async () => {
  const { world, room } = await openRoom();
  world.server.appendMessage("a");
  world.server.appendMessage("b");
  const target_id = (world.server.room().log[0] as Json).id;
  world.server.append("r", { type: "message:edited", target: 1, target_id, by: "bob", content: "never was" });
  await world.clock.pass(100);
  expect(contents(room)).toEqual(["never was", "b"]);
  (world.server.room().log[2] as Json).target = 0;
  const voidFields = { client_id: "x", by: "system", reason: "rejected" };
  world.server.append("r", { type: "message:void", target: 3, message: 1, ...voidFields });
  world.server.append("r", { type: "message:void", target: 2, ...voidFields });
  await world.clock.pass(1_000);
  expect(contents(room)).toEqual(["a"]);
});

test("a room that is opened, released and reopened at once is loaded once", async () => {
  const { world, room, close } = await openRoom();
  close();
  close();
  const again = room.open();
  await world.clock.pass(10_000);
  expect(room.state.get().phase).toBe("live");
  expect(world.server.requests.filter((request) => request.includes("/messages")).length).toBe(1);
  again();
  await world.clock.pass(10_000);
  expect(room.state.get().phase).toBe("closed");
  expect(room.messages.get().items).toEqual([]);
});

test("five hundred rooms are listed and joined in batches, without loading their messages", async () => {
  const ids = Array.from({ length: 500 }, (_, i) => `r${i}`);
  const world = new World(ids);
  const client = await world.connected({}, 3_000);
  while (client.rooms.get().hasMore) {
    const more = client.rooms.more();
    await world.clock.pass(3_000);
    await more;
  }
  expect(client.rooms.get().items.length).toBe(500);
  const joins = world.server.seen
    .filter((frame) => frame.type === "room:join")
    .map((frame) => (frame.rooms as []).length);
  expect(joins).toEqual([200, 200, 100]);
  const requests = world.server.requests.map((line) => line.replace(/&.*/, ""));
  expect(new Set(requests)).toEqual(new Set(["GET /me/rooms?limit=200"]));
  world.server.appendMessage("up", "bob", "r499");
  await world.clock.pass(100);
  expect(client.rooms.get().items[0]).toMatchObject({
    id: "r499",
    unread: 1,
    lastMessage: { content: "up" },
  });
});

test("the rooms of the gateway are joined while the list cannot be read", async () => {
  const world = new World();
  world.server.http = (_, path) =>
    path === "/me/rooms" ? { status: 503, body: { code: "unavailable" } } : undefined;
  const client = await world.connected({}, 20_000);
  expect(world.server.seen.some((frame) => frame.rooms === "mine")).toBe(true);
  world.server.http = undefined;
  await world.clock.pass(60_000);
  expect(client.rooms.get()).toMatchObject({ loaded: true, items: [{ id: "r" }] });
});

/** The state of one message, computed directly from the log. */
function expectedMessage(log: readonly Json[], seq: number) {
  const original = log[seq - 1] as Json;
  let content = original.content;
  let deleted = false;
  const reactions = new Set<string>();
  for (const event of log) {
    if (event.target !== seq || deleted) continue;
    if (event.type === "message:edited") content = event.content;
    if (event.type === "message:deleted") {
      content = "";
      deleted = true;
    }
    if (event.type === "reaction:added") reactions.add(`${event.emoji} ${event.by}`);
    if (event.type === "reaction:removed") reactions.delete(`${event.emoji} ${event.by}`);
  }
  return { seq, content, deleted, reactions: [...reactions].sort() };
}

const stepArbitrary = fc.record({
  what: fc.constantFrom(
    "say",
    "message:edited",
    "message:deleted",
    "reaction:added",
    "reaction:removed",
    "cut",
    "forget",
    "pass",
  ),
  target: fc.nat(20),
  by: fc.constantFrom("alice", "bob", "eve"),
  emoji: fc.constantFrom("👍", "🎉"),
});

test("random changes and delivery: the shown rows equal a plain reading of the log", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(stepArbitrary, { maxLength: 60 }), fc.boolean(), async (changes, poll) => {
      const world = new World();
      const model = world.server;
      const client = world.client({ transport: poll ? "poll" : "websocket" });
      const applied: LogEvent[] = [];
      client.on("event", (event) => applied.push(event));
      client.connect().catch(() => {});
      const room = client.room("r");
      for (let i = 0; i < 5; i++) model.appendMessage(`old ${i}`);
      room.open();
      await world.clock.pass(200);
      let text = 0;
      for (const { what, target, by, emoji } of changes) {
        const messages = model.room().log.filter((event) => event.type === "message:new");
        const { seq, id } = messages[target % messages.length] as { seq: number; id: string };
        const named = { type: what, target: seq, target_id: id, by };
        if (what === "say") model.appendMessage(`${++text}`, by);
        else if (what === "message:edited") model.append("r", { ...named, content: `edit ${++text}` });
        else if (what === "message:deleted") model.append("r", named);
        else if (what.startsWith("reaction")) model.append("r", { ...named, emoji });
        else if (what === "cut") world.cut();
        else if (what === "forget") model.room().tailStart = model.room().log.length;
        else await world.clock.pass(target * 100);
      }
      await world.clock.pass(60_000);
      const { log } = model.room();
      const shown = room.messages.get().items.map(({ seq, content, deleted, reactions }) => ({
        seq,
        content,
        deleted,
        reactions: deleted
          ? []
          : reactions.flatMap(({ emoji, users }) => users.map((user) => `${emoji} ${user}`)).sort(),
      }));
      const wanted = log
        .filter((event) => event.type === "message:new")
        .map(({ seq }) => expectedMessage(log, seq as number));
      expect(shown).toEqual(wanted.map((one) => (one.deleted ? { ...one, reactions: [] } : one)));
      const mine = room.messages.get().items.flatMap(({ reactions }) => reactions);
      expect(
        mine.every(({ mine, users, count }) => mine === users.includes("alice") && count === users.length),
      ).toBe(true);
      const seqs = applied.map(({ seq }) => seq);
      expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
      client.close();
    }),
    { numRuns: Number(process.env.TIDINGS_RUNS ?? 40) },
  );
}, 120_000);

test("the unread count is correct after a mark between unread messages is confirmed", async () => {
  const world = new World();
  for (let i = 1; i <= 3; i++) world.server.appendMessage(`${i}`);
  const { client, room } = await openRoom({}, world);
  const unread = () => client.rooms.get().items[0]?.unread;
  expect(unread()).toBe(3);
  room.markRead(2);
  await world.clock.pass(2_000);
  expect(unread()).toBe(1);
  client.disconnect();
  room.markRead(3);
  for (let i = 4; i <= 7; i++) world.server.appendMessage(`${i}`);
  client.connect().catch(() => {});
  await world.clock.pass(5_000);
  expect(unread()).toBe(4);
});

test("messages from before the connection are marked as delivered once", async () => {
  const world = new World();
  world.server.appendMessage("early");
  await openRoom({}, world);
  await world.clock.pass(10_000);
  expect(world.server.seen.filter((frame) => frame.type === "message:delivered")).toMatchObject([
    { room: "r", seq: 1 },
  ]);
});
