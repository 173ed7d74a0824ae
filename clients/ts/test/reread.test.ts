// Reads of single messages while the log continues or goes back.
import { expect, test } from "vitest";
import type { Session } from "./support/model.js";
import { World } from "./support/world.js";

const session = (world: World) => [...world.model.sessions].at(-1) as Session;
const unavailable = { status: 503, body: { code: "unavailable" } };

/** An open room of ten messages. */
async function ten(world: World) {
  for (let i = 1; i <= 10; i++) world.model.appendMessage(`${i}`);
  const client = world.client();
  client.connect().catch(() => {});
  const room = client.room("r");
  room.open();
  await world.clock.pass(2_000);
  expect(room.state.get().phase).toBe("live");
  return { client, room };
}

/** A void that reports a change of the message at 5. */
const changed = {
  type: "message:void",
  target: 99,
  client_id: "x",
  by: "bob",
  reason: "duplicate",
  message: 5,
};
/** The `upto` of each read of the message at 5. */
const reads = (world: World) => world.model.requests.filter((request) => request.includes("before=6&"));
const upto = (request: string | undefined) => Number(/upto=(\d+)/.exec(request ?? "")?.[1]);

test("a message is read again up to the cursor, also after the cursor went back", async () => {
  const world = new World();
  await ten(world);
  // Storage never reaches a position that the server lost.
  world.model.http = () => (upto(world.model.requests.at(-1)) > 10 ? unavailable : undefined);
  session(world).send({ room: "r", seq: 11, at: world.model.at(), ...changed });
  await world.clock.pass(1_000);
  expect(upto(reads(world).at(-1))).toBe(11);
  world.model.beginEpoch();
  session(world).send({ type: "room:gap", room: "r", after: 10, head: world.model.head("r") });
  await world.clock.pass(60_000);
  expect(upto(reads(world).at(-1))).toBe(10);
  const { length } = reads(world);
  await world.clock.pass(300_000);
  expect(reads(world).length).toBe(length);
});

test("a closed client reads no message again", async () => {
  const world = new World();
  const { client } = await ten(world);
  world.model.http = () => unavailable;
  world.model.append("r", changed);
  await world.clock.pass(1_000);
  expect(reads(world).length).toBeGreaterThan(0);
  client.close();
  // A pending request may still be repeated a few times.
  await world.clock.pass(15_000);
  const { length } = reads(world);
  await world.clock.pass(300_000);
  expect(reads(world).length).toBe(length);
});

test("a message that changes after a reload of its room is read again", async () => {
  const world = new World();
  await ten(world);
  world.model.http = () => (world.model.requests.at(-1)?.includes("before=6&") ? unavailable : undefined);
  world.model.append("r", changed);
  // Long enough for a long pause before the next attempt.
  await world.clock.pass(60_000);
  world.model.append("r", { type: "member:changed", user: "alice", role: "admin", by: "bob" });
  await world.clock.pass(500);
  world.model.append("r", changed);
  world.model.http = undefined;
  await world.clock.pass(120_000);
  expect(upto(reads(world).at(-1))).toBe(13);
});

test("events that arrive during a load and are lost with an epoch are not shown", async () => {
  const world = new World();
  for (let i = 1; i <= 10; i++) world.model.appendMessage(`${i}`);
  const client = world.client();
  client.connect().catch(() => {});
  // The room is listed and its log is followed, so events during the load belong to it.
  await world.clock.pass(2_000);
  world.model.http = (_method, path) => (path.endsWith("/messages") ? unavailable : undefined);
  const room = client.room("r");
  room.open();
  await world.clock.pass(500);
  const lost = { id: "lost", client_id: "lost", sender: { id: "bob" }, kind: "text", content: "lost" };
  session(world).send({ type: "message:new", room: "r", seq: 11, at: world.model.at(), ...lost });
  await world.clock.pass(500);
  world.model.beginEpoch();
  session(world).send({ type: "room:gap", room: "r", after: 10, head: world.model.head("r") });
  await world.clock.pass(500);
  world.model.http = undefined;
  await world.clock.pass(60_000);
  expect(room.state.get().phase).toBe("live");
  expect(room.messages.get().items.map(({ content }) => content)).toEqual(world.model.contents());
});
