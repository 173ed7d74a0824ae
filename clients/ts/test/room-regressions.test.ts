// Has one regression test per fixed fault of rooms and their public state, so the file is long.
import { expect, test } from "vitest";
import { react } from "../src/changes.js";
import type { TidingsClient } from "../src/index.js";
import { members, presence } from "../src/live.js";
import type { Json } from "../src/testing.js";
import { contents, newestSession, phase, UNAVAILABLE, World } from "./support/world.js";

const lastContent = (client: TidingsClient, id: string) =>
  client.rooms.get().items.find((room) => room.id === id)?.lastMessage?.content;

test("listed rooms receive events on the connection after a drain", async () => {
  const world = new World(["r", "s"]);
  const client = await world.connected();
  world.server.appendMessage("1", "bob", "s");
  await world.clock.pass(100);
  expect(lastContent(client, "s")).toBe("1");
  newestSession(world).send({ type: "draining", reconnect_after_ms: 1_000 });
  await world.clock.pass(5_000);
  world.server.appendMessage("2", "bob", "s");
  await world.clock.pass(5_000);
  expect([...newestSession(world).joined].sort()).toEqual(["r", "s"]);
  expect(lastContent(client, "s")).toBe("2");
});

test("a room continues when the connection moves while its gap is filled", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { room } = await world.opened();
  world.server.http = (_method, path) => (path.endsWith("/events") ? UNAVAILABLE : undefined);
  newestSession(world).send({ type: "draining", reconnect_after_ms: 1_000 });
  for (let seq = 2; seq <= 10; seq++) {
    const sender = { id: "bob" };
    const message = { id: `m${seq}`, client_id: `k${seq}`, sender, kind: "text", content: `${seq}` };
    world.server.room().log.push({ room: "r", seq, at: world.server.at(), type: "message:new", ...message });
  }
  newestSession(world).send({ type: "room:gap", room: "r", after: 1, head: { epoch: "1", seq: 10 } });
  await world.clock.pass(3_000);
  world.server.http = undefined;
  world.server.appendMessage("live");
  await world.clock.pass(60_000);
  expect(phase(room)).toBe("live");
  expect(contents(room)).toEqual(world.server.contents());
});

test("a room opened while storage lags behind loses no message", async () => {
  const world = new World();
  for (let i = 0; i < 10; i++) world.server.appendMessage(`${i}`);
  const lagging = world.server.room().log.slice(0, 5);
  world.server.http = (_method, path) => (path === "/transport" ? undefined : UNAVAILABLE);
  const { room } = await world.opened();
  await world.clock.pass(30_000);
  world.server.http = (_method, path) => {
    if (path !== "/rooms/r/messages") return undefined;
    const messages = lagging.map((event) => world.server.message(event, "alice"));
    const head = { epoch: "1", seq: 5 };
    return { status: 200, body: { messages, head, has_before: false, has_after: false } };
  };
  await world.clock.pass(60_000);
  world.server.http = undefined;
  world.server.appendMessage("after");
  await world.clock.pass(1_000);
  expect(contents(room)).toEqual(world.server.contents());
});

test("a late answer to a join of all rooms does not affect a room loaded meanwhile", async () => {
  const world = new World();
  for (let i = 0; i < 10; i++) world.server.appendMessage(`${i}`);
  const lagging = world.server.room().log.slice(0, 5);
  let mineRequested = false;
  let mine: (() => void) | undefined;
  const answer = () => {
    mine?.();
    mine = undefined;
  };
  world.server.hook = (frame, on) => {
    // The answer to the join of all rooms is late, but it comes before the kit joins the room itself.
    if (frame.room === "r" && frame.type === "room:join") answer();
    if (frame.rooms !== "mine") return undefined;
    mineRequested = true;
    mine = () => {
      on.joined.add("r");
      const head = world.server.head("r");
      const info = { room: "r", kind: "private", name: "r", role: "member", read_seq: 0, members: 2, head };
      on.send({ type: "room:joined", ref: frame.ref, rooms: [info], failed: [] });
      on.send({ type: "room:caught_up", room: "r", ...head });
    };
    return "lose";
  };
  world.server.http = (_method, path) => {
    if (path === "/me/rooms") return UNAVAILABLE;
    if (path !== "/rooms/r/messages") return undefined;
    // The page arrives after the join of all rooms was sent and before that join is answered.
    if (!mineRequested) return UNAVAILABLE;
    const messages = lagging.map((event) => world.server.message(event, "alice"));
    const head = { epoch: "1", seq: 5 };
    return { status: 200, body: { messages, head, has_before: false, has_after: false } };
  };
  const { room } = await world.opened();
  for (let i = 0; i < 1_000 && !room.messages.get().items.length; i++) await world.clock.pass(20);
  answer();
  await world.clock.pass(20_000);
  world.server.appendMessage("after");
  await world.clock.pass(1_000);
  expect(contents(room)).toEqual(world.server.contents());
});

test("rooms are joined after a cut during a delayed join", async () => {
  const world = new World(["r", "s"]);
  let joinsDelayed = true;
  world.server.hook = (frame): Json | undefined =>
    joinsDelayed && frame.type === "room:join" ? { type: "error", code: "overloaded" } : undefined;
  const client = await world.connected({}, 10_000);
  joinsDelayed = false;
  world.cut();
  await world.clock.pass(60_000);
  expect([...newestSession(world).joined].sort()).toEqual(["r", "s"]);
  client.close();
});

test("an open room continues after a removal and an addition while away", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { room } = await world.opened();
  newestSession(world).send({ type: "room:removed", room: "r", seq: 1 });
  await world.clock.pass(1_000);
  expect(phase(room)).toBe("removed");
  world.server.version = "v2";
  world.cut();
  await world.clock.pass(60_000);
  expect(phase(room)).toBe("live");
  expect(contents(room)).toEqual(["0"]);
});

test.each([
  ["an expired token", { status: 401, body: { code: "unauthorized" } }],
  ["something that is no page", { status: 200, body: {} }],
])("a room that was answered with %s is loaded later", async (_, answer) => {
  const world = new World();
  world.server.appendMessage("0");
  world.server.http = (_method, path) => (path.endsWith("/messages") ? answer : undefined);
  const { room } = await world.opened();
  expect(phase(room)).toBe("loading");
  world.server.http = undefined;
  await world.clock.pass(60_000);
  expect(phase(room)).toBe("live");
});

test("an open room that was refused temporarily is requested on the next connection", async () => {
  const world = new World();
  world.server.appendMessage("0");
  world.server.http = (_method, path) =>
    path.endsWith("/messages") ? { status: 400, body: { code: "bad_request" } } : undefined;
  const { room } = await world.opened();
  expect(phase(room)).toBe("failed");
  world.server.http = undefined;
  world.cut();
  await world.clock.pass(60_000);
  expect(phase(room)).toBe("live");
});

test("an invalid room list is read again later", async () => {
  const world = new World();
  world.server.http = (_method, path) => (path === "/me/rooms" ? { status: 200, body: {} } : undefined);
  const { client } = await world.opened();
  world.server.http = undefined;
  await world.clock.pass(60_000);
  expect(client.rooms.get().loaded).toBe(true);
});

test("a room loads when its cursor is above everything that storage will have", async () => {
  const world = new World();
  const client = await world.connected();
  for (let i = 0; i < 20; i++) world.server.appendMessage(`${i}`);
  await world.clock.pass(1_000);
  world.down = true;
  world.cut();
  world.server.room().log.length = 10;
  world.server.beginEpoch();
  const request = world.server.request.bind(world.server);
  world.server.request = async (method, url, token, body) => {
    const upto = Number(new URL(url).searchParams.get("upto") ?? 0);
    if (upto > world.server.room().log.length) return { status: 503, body: { code: "unavailable" } };
    return request(method, url, token, body);
  };
  await world.clock.pass(100);
  const room = client.room("r");
  room.open();
  world.down = false;
  await world.clock.pass(120_000);
  expect(phase(room)).toBe("live");
  expect(contents(room)).toEqual(world.server.contents());
});

test("an open room is offline when the first connection is refused", async () => {
  const world = new World();
  world.server.hook = (frame, on) => {
    if (frame.type !== "auth") return undefined;
    on.close(4403);
    return "lose";
  };
  const { client, room } = await world.opened();
  await world.clock.pass(60_000);
  expect(client.connection.get().state).toBe("disconnected");
  expect(phase(room)).toBe("offline");
});

test("a room opened before the app connects is loading after connect", async () => {
  const world = new World();
  const client = world.client();
  const room = client.room("r");
  room.open();
  expect(phase(room)).toBe("offline");
  client.connect().catch(() => {});
  expect(phase(room)).toBe("loading");
  client.disconnect();
  expect(phase(room)).toBe("offline");
});

test.each(["close", "disconnect"] as const)("%s() rejects a pending change", async (end) => {
  const world = new World();
  world.server.appendMessage("0");
  const { client, room } = await world.opened();
  world.down = true;
  world.cut();
  const reaction = react(room, 1, "x").then(
    () => "made",
    (error) => error.code,
  );
  await world.clock.pass(1_000);
  client[end]();
  await world.clock.pass(300_000);
  expect(await Promise.race([reaction, "nothing"])).toBe("closed");
  expect(room.messages.get().items[0]?.reactions).toEqual([]);
  // close() leaves no timer; after disconnect() this tab still holds the lease of its entries.
  if (end === "close") expect(world.clock.pending).toBe(0);
});

test("state of one user does not pass to another user of the same client", async () => {
  const world = new World();
  let user = "alice";
  for (let i = 0; i < 5; i++) world.server.appendMessage(`${i}`, "carol");
  const { client, room } = await world.opened({ token: () => `${user}.1` });
  presence(client).set("away");
  world.down = true;
  world.cut();
  room.markRead(5);
  const reaction = react(room, 1, "x").catch((error) => error.code);
  world.server.seen.length = 0;
  user = "bob";
  // The kit asks for another token only when the server refuses the first one.
  world.server.refuse = (token) => token === "alice.1";
  world.down = false;
  world.server.http = (_method, path) => (path === "/transport" ? undefined : UNAVAILABLE);
  await world.clock.pass(60_000);
  expect(client.me.get()?.id).toBe("bob");
  expect(await reaction).toBe("closed");
  expect(world.server.room().read.get("bob")).toBe(undefined);
  expect(world.server.room().log.filter((event) => event.by === "bob")).toEqual([]);
  expect(world.server.seen.filter((frame) => frame.type === "presence:set")).toEqual([]);
  expect(lastContent(client, "r")).toBe(undefined);
  world.server.http = undefined;
  await world.clock.pass(60_000);
  room.markRead(3);
  await world.clock.pass(10_000);
  expect(world.server.room().read.get("bob")).toBe(3);
});

test("a listener may disconnect the client when a gap has been filled", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { client, room } = await world.opened();
  for (let seq = 2; seq <= 10; seq++) {
    const message = {
      id: `m${seq}`,
      client_id: `k${seq}`,
      sender: { id: "bob" },
      kind: "text",
      content: `${seq}`,
    };
    world.server.room().log.push({ room: "r", seq, at: world.server.at(), type: "message:new", ...message });
  }
  const rejections: unknown[] = [];
  const note = (reason: unknown) => rejections.push(reason);
  process.on("unhandledRejection", note);
  room.state.subscribe(() => {
    if (phase(room) === "live") client.disconnect();
  });
  newestSession(world).send({ type: "room:gap", room: "r", after: 1, head: { epoch: "1", seq: 10 } });
  await world.clock.pass(60_000);
  process.off("unhandledRejection", note);
  expect(contents(room)).toEqual(world.server.contents());
  expect(rejections).toEqual([]);
});

test("loaded members are read again after a gap", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { room } = await world.opened();
  let people: Json[] = [{ user: "alice", role: "owner" }];
  world.server.http = (_method, path) =>
    path.endsWith("/members") ? { status: 200, body: { members: people, next: null } } : undefined;
  await Promise.all([members(room).load(), world.clock.pass(1_000)]);
  people = [...people, { user: "dora", role: "member" }];
  world.cut();
  for (let i = 0; i < 300; i++) world.server.appendMessage(`${i}`);
  world.server.room().tailStart = 290;
  await world.clock.pass(60_000);
  expect(
    members(room)
      .get()
      ?.map(({ user }) => user),
  ).toEqual(["alice", "dora"]);
});

test("a room list from before a removal does not restore the room", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { client, room } = await world.opened();
  void client.rooms.reload();
  await world.clock.pass(7);
  const [socket] = world.sockets;
  socket?.onmessage?.({ data: JSON.stringify({ type: "room:removed", room: "r", seq: 5 }) });
  await world.clock.pass(20_000);
  expect(phase(room)).toBe("removed");
  expect(client.rooms.get().items).toEqual([]);
});

test("messages read on another device while away are not unread", async () => {
  const world = new World();
  for (let i = 0; i < 5; i++) world.server.appendMessage(`${i}`);
  const client = await world.connected();
  const join = world.server.join.bind(world.server);
  world.server.join = function* (on, frame) {
    for (const answer of join(on, frame)) {
      if (answer.type === "room:joined") for (const info of answer.rooms as Json[]) info.read_seq = 3;
      yield answer;
    }
  };
  world.server.room().read.set("alice", 3);
  world.cut();
  await world.clock.pass(60_000);
  expect(client.rooms.get().items[0]).toMatchObject({ unread: 2, readSeq: 3 });
});

test("the unread count is read again when the running read is older than the mark", async () => {
  const world = new World();
  for (let i = 0; i < 5; i++) world.server.appendMessage(`${i}`);
  const { client, room } = await world.opened();
  let slow = true;
  const request = world.server.request.bind(world.server);
  world.server.request = async (method, url, token, body) => {
    const answer = await request(method, url, token, body);
    if (slow && new URL(url).pathname === "/v1/rooms/r") {
      slow = false;
      await new Promise<void>((resolve) => void world.clock.setTimeout(resolve, 2_000));
    }
    return answer;
  };
  newestSession(world).send({ type: "room:gap", room: "r", after: 5, head: { epoch: "2", seq: 5 } });
  world.server.epoch = 2;
  await world.clock.pass(50);
  expect(slow).toBe(false);
  room.markRead(3);
  await world.clock.pass(20_000);
  expect(client.rooms.get().items[0]).toMatchObject({ readSeq: 3, unread: 2 });
});

/** Starts a gap fill that reads the missing events with this answer. */
async function fillGap(world: World, answer: { status: number; body: Json }) {
  world.server.http = (_method, path) => (path.endsWith("/events") ? answer : undefined);
  world.server.room().log.push(...[2, 3].map((seq) => ({ room: "r", seq, at: "", type: "void" })));
  newestSession(world).send({ type: "room:gap", room: "r", after: 1, head: { epoch: "1", seq: 3 } });
  await world.clock.pass(1_000);
}

test("a room that closes during a failing gap fill continues as a listed room", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { client, close } = await world.opened();
  await fillGap(world, UNAVAILABLE);
  close();
  await world.clock.pass(5_000);
  world.server.http = (_method, path) =>
    path.endsWith("/events") ? { status: 409, body: { code: "conflict", after: 1 } } : undefined;
  await world.clock.pass(60_000);
  world.server.http = undefined;
  world.server.appendMessage("live");
  await world.clock.pass(10_000);
  expect(lastContent(client, "r")).toBe("live");
});

test("a room that is opened again during a gap fill becomes live on the same connection", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { client, room, close } = await world.opened();
  await fillGap(world, UNAVAILABLE);
  close();
  await world.clock.pass(5_000);
  room.open();
  world.server.appendMessage("after");
  await world.clock.pass(10_000);
  expect(phase(room)).toBe("live");
  world.server.appendMessage("live");
  await world.clock.pass(1_000);
  expect(contents(room)).toEqual(["0", "after", "live"]);
  expect(lastContent(client, "r")).toBe("live");
  expect(world.attempts).toBe(1);
});

test("a room whose gap fill failed becomes live when it is opened again", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { room } = await world.opened();
  await fillGap(world, { status: 400, body: { code: "bad_request" } });
  expect(phase(room)).toBe("failed");
  world.server.appendMessage("missed");
  room.open();
  await world.clock.pass(10_000);
  expect(phase(room)).toBe("live");
  world.server.appendMessage("live");
  await world.clock.pass(1_000);
  expect(contents(room)).toEqual(["0", "missed", "live"]);
});

test("a user who is added again loads the room again", async () => {
  const world = new World();
  for (let i = 0; i < 5; i++) world.server.appendMessage(`${i}`);
  const { client, room } = await world.opened();
  const { read } = world.server.room();
  room.markRead(5);
  await world.clock.pass(1_000);
  expect(read.get("alice")).toBe(5);
  newestSession(world).send({ type: "room:removed", room: "r", seq: 6 });
  await world.clock.pass(100);
  read.clear();
  const from = { epoch: "1", seq: 5 };
  newestSession(world).send({
    type: "room:added",
    room: "r",
    kind: "private",
    name: "r",
    role: "member",
    from,
  });
  await world.clock.pass(1_000);
  // Messages from before the new membership are not unread.
  expect(client.rooms.get().items[0]).toMatchObject({ readSeq: 5, unread: 0 });
  expect(read.get("alice")).toBe(5);
  world.server.appendMessage("5");
  await world.clock.pass(100);
  expect(client.rooms.get().items[0]).toMatchObject({ readSeq: 5, unread: 1 });
  room.markRead(6);
  await world.clock.pass(5_000);
  expect(read.get("alice")).toBe(6);
});

test("an addition to a listed room emits no event twice", async () => {
  const world = new World();
  const client = await world.connected();
  world.server.appendMessage("0");
  await world.clock.pass(1_000);
  const seqs: number[] = [];
  client.on("event", ({ seq }) => seqs.push(seq));
  world.cut();
  world.server.hook = (frame) => (frame.type === "room:join" ? "lose" : undefined);
  await world.clock.pass(1_500);
  world.server.hook = undefined;
  const from = { epoch: "1", seq: 0 };
  newestSession(world).send({
    type: "room:added",
    room: "r",
    kind: "private",
    name: "r",
    role: "member",
    from,
  });
  await world.clock.pass(20_000);
  expect(seqs).toEqual([]);
  expect(newestSession(world).joined.has("r")).toBe(true);
});

test.each([{ read_seq: "many" }, { online: {} }])(
  "the kit ignores an invalid room in a join answer: %j",
  async (bad) => {
    const world = new World(["r", "s"]);
    const join = world.server.join.bind(world.server);
    world.server.join = function* (on, frame) {
      for (const answer of join(on, frame)) {
        if (answer.type === "room:joined") Object.assign((answer.rooms as Json[])[0] ?? {}, bad);
        yield answer;
      }
    };
    const client = await world.connected();
    world.server.appendMessage("1", "bob", "s");
    await world.clock.pass(1_000);
    expect(lastContent(client, "s")).toBe("1");
    expect(client.rooms.get().items.map(({ readSeq }) => readSeq)).toEqual([0, 0]);
    expect(world.errors).toEqual([]);
  },
);

test("a room that the user was just added to comes first, also while it cannot be read", async () => {
  const world = new World(["r"]);
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  world.server.appendMessage("an hour ago");
  await world.clock.pass(3_600_000 - 60_000);
  world.server.http = (_, path) =>
    path === "/rooms/new" ? { status: 503, body: { code: "unavailable" } } : undefined;
  world.server.addRoom("new");
  const from = world.server.head("new");
  for (const session of [...world.server.sessions])
    session.send({
      type: "room:added",
      room: "new",
      kind: "public",
      name: "new",
      role: "member",
      from,
    });
  await world.clock.pass(100);
  expect(client.rooms.get().items.map(({ id }) => id)).toEqual(["new", "r"]);
});

test("the list is read again within the spread that the server names", async () => {
  const world = new World();
  world.server.appendMessage("0");
  const { client, room } = await world.opened();
  const reads = () => world.server.requests.filter((line) => line.startsWith("GET /me/rooms")).length;
  const before = reads();
  world.server.version = "v2";
  world.server.spread = 40_000;
  world.cut();
  // The kit connects within some seconds, and reads the list 20 s later. Meanwhile it gets events.
  await world.clock.pass(15_000);
  world.server.appendMessage("1");
  await world.clock.pass(1_000);
  expect([reads() - before, contents(room)]).toEqual([0, ["0", "1"]]);
  await world.clock.pass(20_000);
  expect(reads() - before).toBe(1);
  world.server.version = "v3";
  newestSession(world).send({ type: "rooms:changed", rooms_version: "v3", spread_ms: 10_000 });
  await world.clock.pass(4_000);
  expect(reads() - before).toBe(1);
  await world.clock.pass(2_000);
  expect(reads() - before).toBe(2);
  client.close();
});

test("a client without a list reads it at once in a new epoch", async () => {
  const world = new World();
  world.server.spread = 40_000;
  const { client } = await world.opened();
  expect(client.rooms.get().loaded).toBe(true);
  client.close();
});
