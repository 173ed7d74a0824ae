// Long, since all of it reads one model of a log: what a room shows of it.
import fc from "fast-check";
import { expect, test } from "vitest";
import { editMessage, react, unreact } from "../src/changes.js";
import type { LogEvent, Message, Room } from "../src/index.js";
import { receipts, typing } from "../src/live.js";
import { fold } from "../src/room/fold.js";
import type { Json, Session } from "./support/model.js";
import { World } from "./support/world.js";

async function open(options: Parameters<World["client"]>[0] = {}, world = new World()) {
  const client = world.client(options);
  client.connect().catch(() => {});
  const room = client.room("r");
  const close = room.open();
  await world.clock.pass(1_000);
  return { world, client, room, close };
}

const contents = (room: Room) => room.messages.get().items.map(({ content }) => content);
const session = (world: World) => [...world.model.sessions][0] as Session;

/** Away for a while, in which others go on. */
async function away(world: World, meanwhile: () => void) {
  world.down = true;
  world.cut();
  meanwhile();
  world.down = false;
  await world.clock.pass(60_000);
}

test("who comes back is replayed what was missed, each once", async () => {
  const { world, room, client } = await open();
  const events: number[] = [];
  client.on("event", ({ seq }) => events.push(seq));
  world.model.say("a");
  await world.clock.pass(100);
  await away(world, () => {
    world.model.say("b");
    world.model.say("c");
  });
  expect(contents(room)).toEqual(["a", "b", "c"]);
  expect(events).toEqual([1, 2, 3]);
  expect(world.model.requests.filter((request) => request.includes("/events"))).toEqual([]);
});

test("a gap is filled page by page, live events wait for it, and nothing is shown twice", async () => {
  const { world, room, client } = await open({ windowSize: 1_000 });
  const events: number[] = [];
  client.on("event", ({ seq }) => events.push(seq));
  world.model.say("0");
  await world.clock.pass(100);
  await away(world, () => {
    for (let i = 1; i <= 150; i++) world.model.say(`${i}`);
    world.model.room().forgotten = 151;
    let live = 0;
    world.model.http = (_, path) => {
      if (path.endsWith("/events") && live++ < 3) world.model.say(`live ${live}`);
      return undefined;
    };
  });
  expect(contents(room)).toEqual(world.model.contents());
  expect(events).toEqual(events.map((_, i) => i + 1));
  expect(world.model.requests).toContain("GET /rooms/r/events?after=1&epoch=1&upto=151&limit=200");
});

test("more than 200 behind the room is loaded anew, up to the gap's head", async () => {
  const { world, room } = await open();
  await away(world, () => {
    for (let i = 1; i <= 300; i++) world.model.say(`${i}`);
    world.model.room().forgotten = 300;
  });
  expect(contents(room)).toEqual(world.model.contents().slice(-50));
  expect(room.messages.get().hasOlder).toBe(true);
  expect(world.model.requests.some((request) => request.includes("messages?limit=50&upto=300"))).toBe(true);
  expect(world.model.requests.some((request) => request.includes("/events"))).toBe(false);
});

test("a new epoch: what is held above the gap is dropped, and what was accepted there is sent again", async () => {
  const { world, room, client } = await open();
  world.model.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  room.send("accepted only");
  await world.clock.pass(100);
  expect(room.messages.get().items).toMatchObject([{ status: "sent", stored: false, seq: 1 }]);
  await away(world, () => {
    // The memory is lost before it was written.
    world.model.room().log = [];
    world.model.renew();
    world.model.say("of the new epoch");
    world.model.hook = undefined;
  });
  expect(contents(room)).toEqual(["of the new epoch", "accepted only"]);
  expect(world.model.contents()).toEqual(["of the new epoch", "accepted only"]);
  expect(client.outbox.get()).toEqual([]);
});

test("a new epoch: what was seen, and is lost, is not shown any more, and nothing lost counts as accepted", async () => {
  const { world, room } = await open();
  world.model.say("kept");
  await world.clock.pass(100);
  world.model.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  world.model.say("lost");
  room.send("mine");
  await world.clock.pass(100);
  expect(room.messages.get().items.map(({ status }) => status)).toEqual(["sent", "sent", "sent"]);
  await away(world, () => {
    world.model.room().log.length = 1;
    world.model.renew();
    world.model.hook = (frame) => (frame.type === "message:send" ? "lose" : undefined);
  });
  expect(contents(room)).toEqual(["kept", "mine"]);
  expect(room.messages.get().items[1]?.status).not.toBe("sent");
});

test("a new epoch: a change that was seen, and is lost, is not shown any more", async () => {
  const { world, room } = await open();
  const { id } = world.model.say("as it was");
  await world.clock.pass(100);
  world.model.append("r", {
    type: "message:edited",
    target: 1,
    target_id: id,
    by: "bob",
    content: "never was",
  });
  await world.clock.pass(100);
  expect(contents(room)).toEqual(["never was"]);
  await away(world, () => {
    world.model.room().log.length = 1;
    world.model.renew();
    world.model.append("r", { type: "reaction:added", target: 1, target_id: id, by: "bob", emoji: "👍" });
  });
  expect(room.messages.get().items).toMatchObject([
    { content: "as it was", lastSeq: 2, reactions: [{ count: 1 }] },
  ]);
});

test("a change that what was read holds already changes nothing, and another message's neither", () => {
  const message = {
    id: "m",
    content: "now",
    lastSeq: 10,
    deleted: false,
    reactions: [],
  } as unknown as Message;
  const edit = { type: "message:edited", room: "r", target: 1, target_id: "m", by: "bob", at: "x" } as const;
  expect(fold(message, { ...edit, seq: 10, content: "old" }, "me")).toBe(message);
  expect(fold(message, { ...edit, seq: 11, target_id: "n", content: "other" }, "me")).toBe(message);
  expect(fold(message, { ...edit, seq: 11, content: "new" }, "me")).toMatchObject({
    content: "new",
    lastSeq: 11,
  });
});

test("an epoch that is past is answered by reading anew", async () => {
  const { world, room } = await open();
  world.model.say("a");
  await world.clock.pass(100);
  let refused = 0;
  world.model.http = (_, path) =>
    path.endsWith("/events") && refused++ === 0
      ? { status: 409, body: { code: "conflict", after: 0 } }
      : undefined;
  await away(world, () => {
    world.model.say("b");
    world.model.room().forgotten = 2;
  });
  expect(refused).toBe(1);
  expect(contents(room)).toEqual(["a", "b"]);
  expect(room.state.get().phase).toBe("live");
});

test("storage that lags behind is waited for, and the cursor never goes back", async () => {
  const { world, room } = await open();
  world.model.say("a");
  await world.clock.pass(100);
  let lagging = 4;
  world.model.http = (_, path) =>
    path.endsWith("/events") && lagging-- > 0
      ? {
          status: 200,
          body: { events: [], next: { epoch: "1", seq: 0 }, head: { epoch: "1", seq: 0 }, more: false },
        }
      : undefined;
  await away(world, () => {
    world.model.say("b");
    world.model.room().forgotten = 2;
  });
  expect(contents(room)).toEqual(["a", "b"]);
  const asked = world.model.requests.filter((request) => request.includes("/events"));
  expect(asked.length).toBe(5);
  expect(new Set(asked).size).toBe(1);
});

test("older pages come in front, once, until there are no more; trim lets go of them", async () => {
  const world = new World();
  for (let i = 1; i <= 120; i++) world.model.say(`${i}`);
  const { room } = await open({ windowSize: 60 }, world);
  expect(contents(room)).toEqual(world.model.contents().slice(-50));
  const more = room.loadOlder(40);
  expect(room.messages.get().loadingOlder).toBe(true);
  await world.clock.pass(100);
  expect(await more).toBe(true);
  const rest = [room.loadOlder(40), room.loadOlder(40)];
  await world.clock.pass(100);
  expect(await Promise.all(rest)).toEqual([false, false]);
  expect(contents(room)).toEqual(world.model.contents());
  expect(await room.loadOlder()).toBe(false);
  room.trim();
  expect(contents(room)).toEqual(world.model.contents().slice(-60));
  expect(room.messages.get().hasOlder).toBe(true);
});

test("a page that takes long stands right in front of what is held, however much came meanwhile", async () => {
  const world = new World();
  for (let i = 1; i <= 60; i++) world.model.say(`${i}`);
  const { room } = await open({ windowSize: 50 }, world);
  const request = world.model.request.bind(world.model);
  world.model.request = async (...args) => {
    const answer = await request(...args);
    if (args[1].includes("before="))
      await new Promise<void>((resolve) => world.clock.setTimeout(resolve, 1_000));
    return answer;
  };
  const loaded = room.loadOlder();
  for (let i = 61; i <= 80; i++) world.model.say(`${i}`);
  await world.clock.pass(2_000);
  await loaded;
  expect(contents(room)).toEqual(world.model.contents());
});

test("the other one of a direct room is found, also where they have said nothing yet", async () => {
  const world = new World();
  const object = world.model.object.bind(world.model);
  world.model.object = (id, me) => ({ ...object(id, me), kind: "direct", name: null, created_by: me });
  let asked = 0;
  world.model.http = (_, path) => {
    if (!path.endsWith("/members")) return undefined;
    asked++;
    const members = [
      { user: "alice", role: "owner" },
      { user: "bob", name: "Bob", role: "member" },
    ];
    return { status: 200, body: { members, next: null } };
  };
  const { client } = await open({}, world);
  expect(client.rooms.get().items[0]?.peer).toEqual({ user: "bob", name: "Bob" });
  await world.clock.pass(10_000);
  expect(asked).toBe(1);
});

test("no more rows are held than the window takes", async () => {
  const { world, room } = await open({ windowSize: 10 });
  for (let i = 0; i < 30; i++) world.model.say(`${i}`);
  await world.clock.pass(100);
  expect(contents(room)).toEqual(world.model.contents().slice(-10));
  expect(room.messages.get().hasOlder).toBe(true);
});

test("a change of a message on a page under way is not lost", async () => {
  const world = new World();
  for (let i = 1; i <= 80; i++) world.model.say(`${i}`);
  const { room } = await open({}, world);
  let changed = false;
  const request = world.model.request.bind(world.model);
  world.model.request = async (...args) => {
    const answer = await request(...args);
    // The page was made before the change, and arrives behind its event.
    if (args[1].includes("before=") && !changed) {
      changed = true;
      const target = world.model.room().log[9] as Json;
      world.model.append("r", {
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

test("one's own change of role loads the room anew", async () => {
  const { world, room } = await open();
  world.model.say("seen");
  await world.clock.pass(100);
  const before = world.model.requests.length;
  world.model.append("r", { type: "member:changed", user: "alice", role: "admin", by: "bob" });
  world.model.say("after");
  await world.clock.pass(2_000);
  expect(world.model.requests.slice(before).some((request) => request.includes("/messages"))).toBe(true);
  expect(contents(room)).toEqual(["seen", "after"]);
  expect(room.state.get().phase).toBe("live");
});

test("a removal ends a room, one that is older than the last addition does not", async () => {
  const { world, room, client } = await open();
  world.model.say("a");
  await world.clock.pass(100);
  session(world).send({ type: "room:removed", room: "r", seq: 2 });
  await world.clock.pass(100);
  expect(room.state.get().phase).toBe("removed");
  expect(client.rooms.get().items).toEqual([]);
  world.model.say("while away");
  session(world).send({
    type: "room:added",
    room: "r",
    kind: "private",
    name: "r",
    role: "member",
    from: { epoch: "1", seq: 2 },
  });
  session(world).send({ type: "room:removed", room: "r", seq: 2 });
  await world.clock.pass(1_000);
  expect(room.state.get().phase).toBe("live");
  expect(contents(room)).toEqual(["a", "while away"]);
  expect(client.rooms.get().items.length).toBe(1);
});

test("a change in one room leaves what is shown of another as it is", async () => {
  const world = new World(["r", "other"]);
  const { room, client } = await open({}, world);
  const other = client.room("other");
  other.open();
  await world.clock.pass(1_000);
  const { messages, state } = other;
  const [types, marks] = [typing(other), receipts(other)];
  const before = [messages.get(), state.get(), types.get(), marks.get()];
  let told = 0;
  for (const store of [messages, state, types, marks]) store.subscribe(() => told++);
  world.model.say("x", "bob", "r");
  await world.clock.pass(100);
  expect(contents(room)).toEqual(["x"]);
  const after = [messages.get(), state.get(), types.get(), marks.get()];
  expect(after.every((value, i) => value === before[i])).toBe(true);
  expect(told).toBe(0);
});

test("rows that did not change stay the same objects", async () => {
  const { world, room } = await open();
  world.model.say("a");
  world.model.say("b");
  await world.clock.pass(100);
  const [a] = room.messages.get().items;
  world.model.say("c");
  await world.clock.pass(100);
  expect(room.messages.get().items[0]).toBe(a);
  expect(room.messages.get()).toBe(room.messages.get());
});

test("unread counts what others said above the mark, and a mark takes it away", async () => {
  const world = new World(["r", "other"]);
  for (let i = 0; i < 3; i++) world.model.say("old", "bob", "other");
  const { client, room } = await open({}, world);
  const marks = receipts(room);
  const unread = (id: string) => client.rooms.get().items.find((item) => item.id === id)?.unread;
  expect(unread("other")).toBe(3);
  world.model.say("new", "bob", "other");
  world.model.say("mine", "alice", "other");
  await world.clock.pass(100);
  expect(unread("other")).toBe(4);
  client.room("other").markRead(5);
  expect(unread("other")).toBe(0);
  await world.clock.pass(1_000);
  expect(world.model.seen.filter((frame) => frame.type === "message:read")).toMatchObject([
    { room: "other", seq: 5 },
  ]);
  world.model.say("x");
  await world.clock.pass(100);
  expect(unread("r")).toBe(1);
  // Read on another device.
  session(world).send({ type: "receipt:read", room: "r", marks: [{ user: "alice", seq: 1, at: "x" }] });
  await world.clock.pass(100);
  expect(unread("r")).toBe(0);
  expect(marks.get().get("alice")).toEqual({ readSeq: 1, deliveredSeq: 1 });
});

test("marks go out together, never back, and again until they are known", async () => {
  const { world, room } = await open();
  for (let i = 0; i < 5; i++) world.model.say(`${i}`);
  await world.clock.pass(100);
  room.markRead(1);
  room.markRead(4);
  room.markRead(2);
  world.model.hook = (frame) => (frame.type === "message:read" ? "lose" : undefined);
  await world.clock.pass(3_000);
  world.down = true;
  world.cut();
  world.model.hook = undefined;
  world.down = false;
  await world.clock.pass(10_000);
  const marks = world.model.seen.filter((frame) => frame.type === "message:read").map((frame) => frame.seq);
  expect(marks).toEqual([4, 4]);
  const delivered = world.model.seen
    .filter((frame) => frame.type === "message:delivered")
    .map((frame) => frame.seq);
  expect(delivered).toEqual([5]);
});

test("typing is told once a second, stops after two, and others' is forgotten", async () => {
  const { world, room } = await open();
  for (let i = 0; i < 15; i++) {
    typing(room).typed();
    await world.clock.pass(200);
  }
  await world.clock.pass(3_000);
  const told = world.model.seen.filter((frame) => (frame.type as string).startsWith("typing"));
  expect(told.map((frame) => frame.type)).toEqual([
    "typing:start",
    "typing:start",
    "typing:start",
    "typing:stop",
  ]);
  session(world).send({
    type: "typing:start",
    room: "r",
    user: { id: "bob", name: "Bob" },
    expires_ms: 2_000,
  });
  session(world).send({ type: "typing:start", room: "r", user: { id: "eve" }, expires_ms: 2_000 });
  session(world).send({ type: "typing:start", room: "r", user: { id: "alice" }, expires_ms: 2_000 });
  await world.clock.pass(100);
  expect(typing(room).get()).toEqual([{ id: "bob", name: "Bob" }, { id: "eve" }]);
  world.model.say("done", "bob");
  await world.clock.pass(100);
  expect(typing(room).get()).toEqual([{ id: "eve" }]);
  await world.clock.pass(2_000);
  expect(typing(room).get()).toEqual([]);
});

test("a reaction shows at once, and is taken back when it is refused", async () => {
  const { world, room } = await open();
  world.model.say("nice");
  await world.clock.pass(100);
  const reactions = () => room.messages.get().items[0]?.reactions;
  const given = react(room, 1, "👍");
  expect(reactions()).toEqual([{ emoji: "👍", count: 1, mine: true, users: ["alice"] }]);
  await world.clock.pass(1_000);
  await given;
  expect(reactions()).toEqual([{ emoji: "👍", count: 1, mine: true, users: ["alice"] }]);
  world.model.hook = (frame) =>
    frame.type === "reaction:remove" ? { type: "error", code: "conflict" } : undefined;
  const refused = unreact(room, 1, "👍");
  expect(reactions()).toEqual([]);
  await Promise.all([expect(refused).rejects.toMatchObject({ code: "conflict" }), world.clock.pass(1_000)]);
  expect(reactions()).toEqual([{ emoji: "👍", count: 1, mine: true, users: ["alice"] }]);
});

test("a change is repeated under one client id, over a reconnect, and made once", async () => {
  const { world, room } = await open();
  world.model.say("x", "alice");
  await world.clock.pass(100);
  let lost = 0;
  world.model.hook = (frame) => (frame.type === "message:edit" && lost++ === 0 ? "lose-answer" : undefined);
  const edited = editMessage(room, 1, "y");
  await world.clock.pass(100);
  world.cut();
  await world.clock.pass(10_000);
  await edited;
  expect(contents(room)).toEqual(["y"]);
  expect(world.model.room().log.filter((event) => event.type === "message:edited").length).toBe(1);
});

test("where there are more who reacted than are named, the message is read again", async () => {
  const world = new World();
  const first = world.model.say("liked");
  for (let i = 0; i < 25; i++) {
    world.model.append("r", {
      type: "reaction:added",
      target: 1,
      target_id: first.id,
      by: `u${i}`,
      emoji: "👍",
    });
  }
  const { room } = await open({}, world);
  const count = () => room.messages.get().items[0]?.reactions[0]?.count;
  expect(count()).toBe(25);
  world.model.append("r", { type: "reaction:added", target: 1, target_id: first.id, by: "u24", emoji: "👍" });
  world.model.append("r", {
    type: "reaction:removed",
    target: 1,
    target_id: first.id,
    by: "u23",
    emoji: "👍",
  });
  await world.clock.pass(5_000);
  expect(count()).toBe(24);
  expect(world.model.requests.some((request) => request.includes("before=2&limit=1&upto=28"))).toBe(true);
});

test("a void takes the message away, or has what it changed read again", async () => {
  const { world, room } = await open();
  world.model.say("a");
  world.model.say("b");
  const target_id = (world.model.room().log[0] as Json).id;
  world.model.append("r", { type: "message:edited", target: 1, target_id, by: "bob", content: "never was" });
  await world.clock.pass(100);
  expect(contents(room)).toEqual(["never was", "b"]);
  (world.model.room().log[2] as Json).target = 0;
  const said = { client_id: "x", by: "system", reason: "rejected" };
  world.model.append("r", { type: "message:void", target: 3, message: 1, ...said });
  world.model.append("r", { type: "message:void", target: 2, ...said });
  await world.clock.pass(1_000);
  expect(contents(room)).toEqual(["a"]);
});

test("a room that is opened, released and opened again in one moment is loaded once", async () => {
  const { world, room, close } = await open();
  close();
  close();
  const again = room.open();
  await world.clock.pass(10_000);
  expect(room.state.get().phase).toBe("live");
  expect(world.model.requests.filter((request) => request.includes("/messages")).length).toBe(1);
  again();
  await world.clock.pass(10_000);
  expect(room.state.get().phase).toBe("closed");
  expect(room.messages.get().items).toEqual([]);
});

test("five hundred rooms are listed and joined in batches, without loading their messages", async () => {
  const ids = Array.from({ length: 500 }, (_, i) => `r${i}`);
  const world = new World(ids);
  const client = world.client();
  client.connect().catch(() => {});
  await world.clock.pass(3_000);
  expect(client.rooms.get().items.length).toBe(500);
  const joins = world.model.seen
    .filter((frame) => frame.type === "room:join")
    .map((frame) => (frame.rooms as []).length);
  expect(joins).toEqual([200, 200, 100]);
  expect(world.model.requests).toEqual(["GET /me/rooms?limit=200"]);
  world.model.say("up", "bob", "r499");
  await world.clock.pass(100);
  expect(client.rooms.get().items[0]).toMatchObject({
    id: "r499",
    unread: 1,
    lastMessage: { content: "up" },
  });
});

test("while the list cannot be had the gateway's own is joined", async () => {
  const world = new World();
  world.model.http = (_, path) =>
    path === "/me/rooms" ? { status: 503, body: { code: "unavailable" } } : undefined;
  const client = world.client();
  client.connect().catch(() => {});
  await world.clock.pass(20_000);
  expect(world.model.seen.some((frame) => frame.rooms === "mine")).toBe(true);
  world.model.http = undefined;
  await world.clock.pass(60_000);
  expect(client.rooms.get()).toMatchObject({ loaded: true, items: [{ id: "r" }] });
});

/** What a plain reading of the log says of one message. */
function plain(log: readonly Json[], seq: number) {
  const said = log[seq - 1] as Json;
  let content = said.content;
  let deleted = false;
  const given = new Set<string>();
  for (const event of log) {
    if (event.target !== seq || deleted) continue;
    if (event.type === "message:edited") content = event.content;
    if (event.type === "message:deleted") {
      content = "";
      deleted = true;
    }
    if (event.type === "reaction:added") given.add(`${event.emoji} ${event.by}`);
    if (event.type === "reaction:removed") given.delete(`${event.emoji} ${event.by}`);
  }
  return { seq, content, deleted, given: [...given].sort() };
}

const change = fc.record({
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

test("whatever changes, and however it comes: what is shown is what a plain reading of the log says", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 60 }), fc.boolean(), async (changes, poll) => {
      const world = new World();
      const model = world.model;
      const client = world.client({ transport: poll ? "poll" : "websocket" });
      const applied: LogEvent[] = [];
      client.on("event", (event) => applied.push(event));
      client.connect().catch(() => {});
      const room = client.room("r");
      for (let i = 0; i < 5; i++) model.say(`old ${i}`);
      room.open();
      await world.clock.pass(200);
      let text = 0;
      for (const { what, target, by, emoji } of changes) {
        const messages = model.room().log.filter((event) => event.type === "message:new");
        const { seq, id } = messages[target % messages.length] as { seq: number; id: string };
        const named = { type: what, target: seq, target_id: id, by };
        if (what === "say") model.say(`${++text}`, by);
        else if (what === "message:edited") model.append("r", { ...named, content: `edit ${++text}` });
        else if (what === "message:deleted") model.append("r", named);
        else if (what.startsWith("reaction")) model.append("r", { ...named, emoji });
        else if (what === "cut") world.cut();
        else if (what === "forget") model.room().forgotten = model.room().log.length;
        else await world.clock.pass(target * 100);
      }
      await world.clock.pass(60_000);
      const { log } = model.room();
      const shown = room.messages.get().items.map(({ seq, content, deleted, reactions }) => ({
        seq,
        content,
        deleted,
        given: deleted
          ? []
          : reactions.flatMap(({ emoji, users }) => users.map((user) => `${emoji} ${user}`)).sort(),
      }));
      const wanted = log
        .filter((event) => event.type === "message:new")
        .map(({ seq }) => plain(log, seq as number));
      expect(shown).toEqual(wanted.map((one) => (one.deleted ? { ...one, given: [] } : one)));
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

test("what is unread is right again once a mark in the midst of it is known", async () => {
  const world = new World();
  for (let i = 1; i <= 3; i++) world.model.say(`${i}`);
  const { client, room } = await open({}, world);
  const unread = () => client.rooms.get().items[0]?.unread;
  expect(unread()).toBe(3);
  room.markRead(2);
  await world.clock.pass(2_000);
  expect(unread()).toBe(1);
  client.disconnect();
  room.markRead(3);
  for (let i = 4; i <= 7; i++) world.model.say(`${i}`);
  client.connect().catch(() => {});
  await world.clock.pass(5_000);
  expect(unread()).toBe(4);
});

test("what lay there before somebody came is told as delivered, once", async () => {
  const world = new World();
  world.model.say("early");
  await open({}, world);
  await world.clock.pass(10_000);
  expect(world.model.seen.filter((frame) => frame.type === "message:delivered")).toMatchObject([
    { room: "r", seq: 1 },
  ]);
});
