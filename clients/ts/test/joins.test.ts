// Events of an earlier join that come between the next join of their room and its answer.
import { expect, test } from "vitest";
import type { Json, Session } from "../src/testing.js";
import { contents, newestSession, UNAVAILABLE, World } from "./support/world.js";

const isJoin = (frame: Json) => frame.type === "room:join";
const REFUSED = { type: "error", code: "unavailable" };

/** A client whose room is listed and followed, with one message. It notes the events that the app gets. */
async function listedRoom() {
  const world = new World();
  world.server.appendMessage("kept");
  const client = world.client();
  const emitted: unknown[] = [];
  client.on("event", (event) => void emitted.push((event as { content?: string }).content));
  client.connect().catch(() => {});
  await world.clock.pass(2_000);
  return { world, client, room: client.room("r"), emitted };
}

/** The server loses all messages but the first `kept`, and stores `count` others in a new epoch. */
function loseEvents({ server }: World, session: Session, count = 1, kept = 1): void {
  server.room().log.length = kept;
  server.beginEpoch();
  // The join that is under way replaces this subscription, so only its replay contains the new messages.
  session.joined.delete("r");
  for (let i = 1; i <= count; i++) server.appendMessage(`new epoch ${i}`);
}

/** Runs `work` at the server when the first frame that `matches` arrives, before the answer. */
function beforeAnswer(
  { server }: World,
  matches: (frame: Json) => boolean,
  work: (session: Session) => unknown,
): void {
  server.hook = (frame, session) => {
    if (!matches(frame)) return undefined;
    server.hook = undefined;
    return work(session) as Json | undefined;
  };
}

test("an event before the answer to a join is shown and emitted once", async () => {
  const { world, room, emitted } = await listedRoom();
  beforeAnswer(world, isJoin, () => void world.server.appendMessage("between"));
  room.open();
  await world.clock.pass(2_000);
  world.server.appendMessage("live");
  await world.clock.pass(2_000);
  expect(room.state.get().phase).toBe("live");
  expect([contents(room), emitted]).toEqual([
    ["kept", "between", "live"],
    ["between", "live"],
  ]);
});

test("events are shown at once while a refused join is repeated, and each once", async () => {
  const { world, room, emitted } = await listedRoom();
  beforeAnswer(world, isJoin, () => {
    world.server.appendMessage("before the refusal");
    world.server.hook = (frame) => (isJoin(frame) ? REFUSED : undefined);
    return REFUSED;
  });
  room.open();
  await world.clock.pass(1_000);
  world.server.appendMessage("after the refusal");
  await world.clock.pass(1_000);
  const all = ["kept", "before the refusal", "after the refusal"];
  expect([room.state.get().phase, contents(room)]).toEqual(["catching-up", all]);
  world.server.hook = undefined;
  await world.clock.pass(20_000);
  expect(room.state.get().phase).toBe("live");
  expect([contents(room), emitted]).toEqual([all, all.slice(1)]);
});

test.each([1, 2, 3])(
  "events before the answer to a join are not shown if the new epoch has %i others",
  async (count) => {
    const { world, room, emitted } = await listedRoom();
    beforeAnswer(world, isJoin, (session) => {
      world.server.appendMessage("lost 1");
      world.server.appendMessage("lost 2");
      loseEvents(world, session, count);
    });
    room.open();
    await world.clock.pass(5_000);
    world.server.appendMessage("live");
    await world.clock.pass(5_000);
    expect(room.state.get().phase).toBe("live");
    expect(contents(room)).toEqual(world.server.contents());
    expect(emitted).toEqual(["lost 1", "lost 2", ...world.server.contents().slice(1)]);
  },
);

test("an own message that is accepted before the answer to a join and then lost is sent again", async () => {
  const { world, room } = await listedRoom();
  const { server } = world;
  const ack = server.ack.bind(server);
  server.ack = (...of) => ({ ...ack(...of), stage: "accepted" });
  let accepted: unknown[] = [];
  beforeAnswer(world, isJoin, (session) => {
    accepted = server.contents();
    server.ack = ack;
    loseEvents(world, session);
  });
  room.open();
  // The join is sent after 10 ms, when the page has arrived. The message reaches the server before the join.
  await world.clock.pass(8);
  room.send("own");
  await world.clock.pass(10_000);
  expect(accepted).toEqual(["kept", "own"]);
  expect(server.contents()).toEqual(["kept", "new epoch 1", "own"]);
  expect(contents(room)).toEqual(server.contents());
});

test("events before the answer to a repeated join are not shown if a new epoch loses them", async () => {
  const { world, room } = await listedRoom();
  beforeAnswer(world, isJoin, () => {
    world.server.appendMessage("kept too");
    beforeAnswer(world, isJoin, (session) => {
      world.server.appendMessage("lost");
      loseEvents(world, session, 3, 2);
    });
    return REFUSED;
  });
  room.open();
  await world.clock.pass(20_000);
  expect(room.state.get().phase).toBe("live");
  expect(contents(room)).toEqual(world.server.contents());
});

test.each(["a gap is filled", "a changed role is applied"])(
  "a join of all rooms that fails while %s leaves no hole",
  async (work) => {
    const { world, room } = await listedRoom();
    room.open();
    await world.clock.pass(2_000);
    const session = newestSession(world);
    if (work === "a gap is filled") {
      world.server.http = (_method, path) => (path.endsWith("/events") ? UNAVAILABLE : undefined);
      session.joined.delete("r");
      world.server.appendMessage("missed");
      session.send({ type: "room:gap", room: "r", after: 1, head: world.server.head("r") });
      session.joined.add("r");
    } else {
      world.server.hook = (frame) => (isJoin(frame) ? REFUSED : undefined);
      world.server.append("r", { type: "member:changed", user: "alice", role: "admin", by: "bob" });
      await world.clock.pass(100);
    }
    world.server.appendMessage("not applied");
    await world.clock.pass(1_000);
    // The earlier join of the room stays in force.
    session.send({ type: "room:joined", rooms: [], failed: [{ room: "r", code: "unavailable" }] });
    await world.clock.pass(100);
    world.server.http = world.server.hook = undefined;
    world.server.appendMessage("live");
    await world.clock.pass(60_000);
    expect(room.state.get().phase).toBe("live");
    expect(contents(room)).toEqual(world.server.contents());
  },
);

test("the open room is joined first after a reconnect with 201 rooms", async () => {
  const ids = Array.from({ length: 201 }, (_, i) => `r${i}`);
  const world = new World(ids);
  const client = await world.connected({}, 2_000);
  const room = client.room("r200");
  room.open();
  await world.clock.pass(2_000);
  world.server.seen.length = 0;
  // No join of many rooms is answered, so the open room must not wait for one.
  world.server.hook = (frame) => (isJoin(frame) && frame.rooms ? "lose" : undefined);
  world.cut();
  await world.clock.pass(4_000);
  world.server.appendMessage("live", "bob", "r200");
  await world.clock.pass(100);
  expect(world.server.seen.filter(isJoin)[0]).toMatchObject({ room: "r200" });
  expect(room.state.get().phase).toBe("live");
  expect(contents(room)).toEqual(["live"]);
});

test("events before the answer to a join of all rooms are not shown if a new epoch loses them", async () => {
  const world = new World();
  world.server.appendMessage("kept");
  // The list cannot be read, which the client learns when the open room is live. Then it joins all rooms.
  const request = world.server.request.bind(world.server);
  world.server.request = async (method, url, token, body) => {
    if (!url.includes("/me/rooms")) return request(method, url, token, body);
    await new Promise<void>((resolve) => void world.clock.setTimeout(resolve, 2_000));
    return UNAVAILABLE;
  };
  let live = false;
  const client = world.client();
  const room = client.room("r");
  beforeAnswer(
    world,
    (frame) => frame.rooms === "mine",
    (session) => {
      live = room.state.get().phase === "live";
      world.server.appendMessage("lost 1");
      world.server.appendMessage("lost 2");
      loseEvents(world, session, 3);
    },
  );
  client.connect().catch(() => {});
  room.open();
  await world.clock.pass(20_000);
  expect(live).toBe(true);
  expect(room.state.get().phase).toBe("live");
  expect(contents(room)).toEqual(world.server.contents());
});

/**
 * A server that holds all joins until `release`, which answers them in their order. The client cannot read its list
 * until it has joined all rooms without a cursor.
 */
function holdJoins({ server }: World) {
  const held: (() => void)[] = [];
  server.hook = (frame, session) => {
    if (!isJoin(frame)) return undefined;
    held.push(() => server.frame(session, frame));
    return "lose";
  };
  server.http = (_method, path) => (path === "/me/rooms" && !held.length ? UNAVAILABLE : undefined);
  return {
    held,
    release: () => {
      server.hook = undefined;
      for (const answer of held) answer();
    },
  };
}

test.each([0, 3_000])(
  "no event after the list is missed if a join of all rooms is answered %i ms later",
  async (ms) => {
    const world = new World();
    const { held, release } = holdJoins(world);
    world.server.appendMessage("listed");
    const client = world.client();
    const emitted: unknown[] = [];
    client.on("event", (event) => void emitted.push((event as { content?: string }).content));
    client.connect().catch(() => {});
    while (!client.rooms.get().loaded) await world.clock.pass(100);
    expect(held.length).toBeGreaterThan(0);
    expect(world.server.framesOf("room:join")[0]).toMatchObject({ rooms: "mine", after: {} });
    world.server.appendMessage("missed");
    await world.clock.pass(ms);
    release();
    await world.clock.pass(10_000);
    world.server.appendMessage("live");
    await world.clock.pass(1_000);
    const [summary] = client.rooms.get().items;
    expect(summary).toMatchObject({ unread: 3, lastMessage: { content: "live" } });
    expect(emitted).toEqual(["missed", "live"]);
  },
);

test("no event is missed if an older list is read between the answer to a join and the replay", async () => {
  const world = new World();
  const { server } = world;
  server.appendMessage("listed");
  const list = { rooms: [server.object("r", "alice")], next: null, rooms_version: server.version };
  let session: Session | undefined;
  server.http = (_method, path) => {
    if (path !== "/me/rooms") return undefined;
    return session ? { status: 200, body: list } : UNAVAILABLE;
  };
  beforeAnswer(
    world,
    (frame) => frame.rooms === "mine",
    (of) => {
      session = of;
      server.appendMessage("missed");
      of.joined.add("r");
      const joined = { room: "r", kind: "private", name: "r", role: "member", head: server.head("r") };
      return { type: "room:joined", rooms: [joined], failed: [] };
    },
  );
  const client = world.client();
  client.connect().catch(() => {});
  while (!client.rooms.get().loaded) await world.clock.pass(100);
  session?.send({ type: "room:caught_up", room: "r", ...server.head("r") });
  await world.clock.pass(10_000);
  const [summary] = client.rooms.get().items;
  expect(summary).toMatchObject({ unread: 2, lastMessage: { content: "missed" } });
});

test.each([0, 3_000, 6_000])(
  "a room that is opened during a slow join of all rooms has no hole (%i ms)",
  async (ms) => {
    const world = new World();
    const { held, release } = holdJoins(world);
    world.server.http = (_method, path) => (path === "/me/rooms" ? UNAVAILABLE : undefined);
    world.server.appendMessage("loaded");
    const client = world.client();
    client.connect().catch(() => {});
    while (!held.length) await world.clock.pass(100);
    expect(world.server.framesOf("room:join")[0]).toMatchObject({ rooms: "mine", after: {} });
    const room = client.room("r");
    room.open();
    await world.clock.pass(2_000);
    world.server.appendMessage("missed");
    await world.clock.pass(ms);
    release();
    await world.clock.pass(10_000);
    world.server.appendMessage("live");
    await world.clock.pass(1_000);
    expect(room.state.get().phase).toBe("live");
    expect(contents(room)).toEqual(["loaded", "missed", "live"]);
  },
);

test("no event is missed if a notice of activity comes before the answer to a join at the head", async () => {
  const world = new World();
  const { server } = world;
  server.appendMessage("before");
  // The list cannot be read, and the join of all rooms is lost, so no cursor is known.
  server.http = (_method, path) => (/rooms$|messages$/.test(path) ? UNAVAILABLE : undefined);
  let noticed = false;
  server.hook = (frame, session) => {
    if (frame.rooms === "mine") return "lose";
    if (!isJoin(frame) || noticed) return undefined;
    noticed = true;
    const from = server.head("r");
    server.appendMessage("missed");
    session.send({ type: "room:activity", room: "r", seq: 2, mention: false, from });
    return undefined;
  };
  const client = await world.connected({}, 100);
  const room = client.room("r");
  const close = room.open();
  await world.clock.pass(100);
  // The join of the room fails while its page is read. It is repeated after the app has closed the room.
  close();
  await world.clock.pass(2_900);
  newestSession(world).send({ type: "room:joined", rooms: [], failed: [{ room: "r", code: "unavailable" }] });
  await world.clock.pass(20_000);
  expect(noticed).toBe(true);
  server.appendMessage("live");
  await world.clock.pass(20_000);
  expect(room.state.get().summary).toMatchObject({ unread: 3, lastMessage: { content: "live" } });
});

test.each(["the same epoch", "a new epoch"])(
  "a join at the head by the app, in %s, leaves no hole in a live room",
  async (epoch) => {
    const { world, room, client } = await listedRoom();
    room.open();
    await world.clock.pass(2_000);
    beforeAnswer(world, isJoin, (session) => {
      if (epoch === "a new epoch") {
        world.server.appendMessage("lost");
        loseEvents(world, session);
      } else {
        session.joined.delete("r");
        world.server.appendMessage("missed");
      }
    });
    client.request({ type: "room:join", room: "r" }).catch(() => {});
    await world.clock.pass(5_000);
    world.server.appendMessage("live");
    await world.clock.pass(5_000);
    expect(room.state.get().phase).toBe("live");
    expect(contents(room)).toEqual(world.server.contents());
  },
);
