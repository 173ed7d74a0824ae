// Retries after failures of joins and reads.
import { expect, test } from "vitest";
import type { TidingsClient } from "../src/index.js";
import { phase, World } from "./support/world.js";

const unavailable = { status: 503, body: { code: "unavailable" } };
const listed = (client: TidingsClient, id: string) => client.rooms.get().items.find((room) => room.id === id);

async function refused(world: World) {
  const forbidden = { status: 403, body: { code: "forbidden" } };
  world.server.http = (_method, path) => (path === "/rooms/r/messages" ? forbidden : undefined);
  const { room, close: release } = await world.opened({}, 2_000);
  expect(phase(room)).toBe("removed");
  world.server.http = undefined;
  return { room, release };
}

test("a refused room is requested again when it is reopened before its close", async () => {
  const world = new World();
  const { room, release } = await refused(world);
  release();
  await world.clock.pass(1_000);
  room.open();
  await world.clock.pass(2_000);
  expect(phase(room)).toBe("live");
});

test("a refused room is requested again when a second opener opens it", async () => {
  const world = new World();
  const { room } = await refused(world);
  room.open();
  await world.clock.pass(2_000);
  expect(phase(room)).toBe("live");
});

/** A listed room with a gap while every read of it fails. */
async function behind(world: World) {
  world.server.appendMessage("old", "bob", "s");
  const client = await world.connected();
  world.down = true;
  world.cut();
  for (let i = 0; i < 5; i++) world.server.appendMessage(`${i}`, "bob", "s");
  world.server.beginEpoch();
  world.server.http = (_method, path) => (path.startsWith("/rooms/s") ? unavailable : undefined);
  world.down = false;
  await world.clock.pass(40_000);
  expect(client.connection.get().state).toBe("connected");
  expect(listed(client, "s")?.lastMessage?.content).toBe("old");
  return client;
}

test("a list entry becomes correct after a gap, however long its read fails", async () => {
  const world = new World(["r", "s"]);
  const client = await behind(world);
  world.server.http = undefined;
  await world.clock.pass(60_000);
  expect(listed(client, "s")).toMatchObject({ unread: 6, lastMessage: { content: "4" } });
});

test("a failed read of a listed room pauses while stopped and continues after connect", async () => {
  const world = new World(["r", "s"]);
  const client = await behind(world);
  client.close();
  const { length } = world.server.requests;
  await world.clock.pass(120_000);
  expect(world.server.requests.slice(length)).toEqual([]);
  world.server.http = undefined;
  client.connect().catch(() => {});
  await world.clock.pass(60_000);
  expect(listed(client, "s")).toMatchObject({ unread: 6, lastMessage: { content: "4" } });
});

test("a room is removed when its subscription has ended, and no other error of a room removes or rejoins it", async () => {
  const world = new World(["r", "s"]);
  const client = world.client();
  client.connect().catch(() => {});
  for (const id of ["r", "s"]) client.room(id).open();
  await world.clock.pass(2_000);
  const before = world.server.seen.length;
  for (const session of world.server.sessions) {
    const error = { type: "error", message: "sentence" };
    session.send({ ...error, room: "r", code: "not_found", reason: "ended" });
    // Answers to `typing:start`, which the kit sends without a `ref`.
    for (const code of ["forbidden", "not_found", "conflict", "unavailable"]) {
      session.send({ ...error, room: "s", code });
    }
  }
  await world.clock.pass(10_000);
  expect(phase(client.room("r"))).toBe("removed");
  expect(phase(client.room("s"))).toBe("live");
  const joins = world.server.seen.slice(before).filter((frame) => frame.type === "room:join");
  expect(joins).toEqual([]);
});
