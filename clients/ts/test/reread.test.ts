// Reads of single messages while new events arrive, or while a new epoch begins.
import { expect, test } from "vitest";
import { newestSession, UNAVAILABLE, World } from "./support/world.js";

/** An open room of ten messages. */
async function openRoomOfTen(world: World) {
  for (let i = 1; i <= 10; i++) world.server.appendMessage(`${i}`);
  const { client, room } = await world.opened({}, 2_000);
  expect(room.state.get().phase).toBe("live");
  return { client, room };
}

/** A void that reports a change of the message at 5. */
const CHANGE_VOID = {
  type: "message:void",
  target: 99,
  client_id: "x",
  by: "bob",
  reason: "duplicate",
  message: 5,
};
/** The requests that read the message at 5. */
const readRequests = (world: World) =>
  world.server.requests.filter((request) => request.includes("before=6&"));
const upto = (request: string | undefined) => Number(/upto=(\d+)/.exec(request ?? "")?.[1]);

test("a message is read again up to the cursor, also after the cursor went back", async () => {
  const world = new World();
  await openRoomOfTen(world);
  // The database never reaches a seq that the server has lost.
  world.server.http = () => (upto(world.server.requests.at(-1)) > 10 ? UNAVAILABLE : undefined);
  newestSession(world).send({ room: "r", seq: 11, at: world.server.at(), ...CHANGE_VOID });
  await world.clock.pass(1_000);
  expect(upto(readRequests(world).at(-1))).toBe(11);
  world.server.beginEpoch();
  newestSession(world).send({ type: "room:gap", room: "r", after: 10, head: world.server.head("r") });
  await world.clock.pass(60_000);
  expect(upto(readRequests(world).at(-1))).toBe(10);
  const { length } = readRequests(world);
  await world.clock.pass(300_000);
  expect(readRequests(world).length).toBe(length);
});

test("a closed client reads no message again", async () => {
  const world = new World();
  const { client } = await openRoomOfTen(world);
  world.server.http = () => UNAVAILABLE;
  world.server.append("r", CHANGE_VOID);
  await world.clock.pass(1_000);
  expect(readRequests(world).length).toBeGreaterThan(0);
  client.close();
  // A pending request may be repeated a few times.
  await world.clock.pass(15_000);
  const { length } = readRequests(world);
  await world.clock.pass(300_000);
  expect(readRequests(world).length).toBe(length);
});

test("a message that changes after a reload of its room is read again", async () => {
  const world = new World();
  await openRoomOfTen(world);
  world.server.http = () => (world.server.requests.at(-1)?.includes("before=6&") ? UNAVAILABLE : undefined);
  world.server.append("r", CHANGE_VOID);
  // Waits until the pause before the next attempt is long.
  await world.clock.pass(60_000);
  world.server.append("r", { type: "member:changed", user: "alice", role: "admin", by: "bob" });
  await world.clock.pass(500);
  world.server.append("r", CHANGE_VOID);
  world.server.http = undefined;
  await world.clock.pass(120_000);
  expect(upto(readRequests(world).at(-1))).toBe(13);
});

test("events that arrive during a load and are lost with an epoch are not shown", async () => {
  const world = new World();
  for (let i = 1; i <= 10; i++) world.server.appendMessage(`${i}`);
  const client = world.client();
  client.connect().catch(() => {});
  // The room is listed and its log is followed, so events during the load belong to it.
  await world.clock.pass(2_000);
  world.server.http = (_method, path) => (path.endsWith("/messages") ? UNAVAILABLE : undefined);
  const room = client.room("r");
  room.open();
  await world.clock.pass(500);
  const lostMessage = { id: "lost", client_id: "lost", sender: { id: "bob" }, kind: "text", content: "lost" };
  newestSession(world).send({
    type: "message:new",
    room: "r",
    seq: 11,
    at: world.server.at(),
    ...lostMessage,
  });
  await world.clock.pass(500);
  world.server.beginEpoch();
  newestSession(world).send({ type: "room:gap", room: "r", after: 10, head: world.server.head("r") });
  await world.clock.pass(500);
  world.server.http = undefined;
  await world.clock.pass(60_000);
  expect(room.state.get().phase).toBe("live");
  expect(room.messages.get().items.map(({ content }) => content)).toEqual(world.server.contents());
});

test("events that a join repeats, because the page ended below the cursor, are emitted once", async () => {
  const world = new World();
  const { client, room } = await openRoomOfTen(world);
  const emitted: number[] = [];
  client.on("event", ({ seq }) => void emitted.push(seq));
  for (let i = 11; i <= 15; i++) world.server.appendMessage(`${i}`);
  await world.clock.pass(500);
  // PostgreSQL has stored the events up to 12, so a page with a higher `upto` is unavailable.
  const page = {
    messages: [],
    head: { ...world.server.head("r"), seq: 12 },
    has_before: true,
    has_after: false,
  };
  world.server.http = (_method, path) => {
    if (!path.endsWith("/messages")) return undefined;
    return upto(world.server.requests.at(-1)) > 12 ? UNAVAILABLE : { status: 200, body: page };
  };
  world.server.append("r", { type: "member:changed", user: "alice", role: "admin", by: "bob" });
  await world.clock.pass(20_000);
  world.server.http = undefined;
  await world.clock.pass(60_000);
  expect(room.state.get().phase).toBe("live");
  expect(emitted).toEqual([11, 12, 13, 14, 15, 16]);
});
