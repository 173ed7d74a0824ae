// Events of an earlier join that come between the next join of their room and its answer.
import { expect, test } from "vitest";
import type { Room } from "../src/index.js";
import type { Json, Session } from "../src/testing.js";
import { World } from "./support/world.js";

const newestSession = (world: World) => [...world.server.sessions].at(-1) as Session;
const contents = (room: Room) => room.messages.get().items.map(({ content }) => content);
const isJoin = (frame: Json) => frame.type === "room:join";
const UNAVAILABLE = { status: 503, body: { code: "unavailable" } };
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
  return { world, room: client.room("r"), emitted };
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
  const client = world.client();
  client.connect().catch(() => {});
  await world.clock.pass(2_000);
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
