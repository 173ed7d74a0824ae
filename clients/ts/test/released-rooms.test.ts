// Rooms that the app has released: `close()` closes them at once, and the kit forgets those that are not in the list.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import type { Room, TidingsClient } from "../src/index.js";
import { typing } from "../src/live.js";
import { settle } from "../src/testing.js";
import { World } from "./support/world.js";

const notFound = { status: 404, body: { code: "not_found" } };

test("a closed client has no timers, even when a room was released just before", async () => {
  const world = new World();
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const room = client.room("r");
  const release = room.open();
  await world.clock.pass(1_000);
  expect(room.messages.get().items).toEqual([]);
  release();
  client.close();
  await world.clock.pass(100);
  expect(world.clock.pending).toBe(0);
});

let user = "alice";

async function connectedClient() {
  const world = new World();
  world.server.http = (_method, path) => (path.startsWith("/rooms/gone") ? notFound : undefined);
  const client = world.client({ token: () => `${user}.1` });
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  return { world, client };
}

/** Opens and releases a room, and returns it weakly. */
async function visit(world: World, client: TidingsClient, id: string, use?: (room: Room) => void) {
  const weak = new WeakRef(client.room(id));
  use?.(client.room(id));
  const release = client.room(id).open();
  await world.clock.pass(2_000);
  release();
  await world.clock.pass(4_000);
  return weak;
}

/** Collects garbage. The caller must hold no strong reference, not even in a suspended function. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  // A weak reference holds its target until the running task ends.
  await settle();
  (runInNewContext("gc") as () => void)();
}

test("a released room outside the list is forgotten, and a room in the list is kept", async () => {
  const { world, client } = await connectedClient();
  const gone = await visit(world, client, "gone");
  const listed = await visit(world, client, "r");
  await collectGarbage();
  expect(gone.deref()).toBeUndefined();
  expect(listed.deref()).toBe(client.room("r"));
});

test("a forgotten room that the app still holds is the same object again, and opens", async () => {
  const { world, client } = await connectedClient();
  const room = client.room("gone");
  room.open()();
  await world.clock.pass(5_000);
  expect(client.room("gone")).toBe(room);
  world.server.http = undefined;
  const listedRoom = client.room("r");
  const release = listedRoom.open();
  await world.clock.pass(2_000);
  expect(listedRoom.state.get().phase).toBe("live");
  release();
});

test("a forgotten room keeps no error of an earlier user", async () => {
  const { world, client } = await connectedClient();
  const room = client.room("gone");
  room.open()();
  await world.clock.pass(5_000);
  const release = client.room("gone").open();
  expect(room.state.get().phase).toBe("removed");
  release();
  await world.clock.pass(5_000);
  user = "carol";
  client.disconnect();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  world.server.http = undefined;
  room.open();
  expect(room.state.get().phase).toBe("loading");
  user = "alice";
});

test("a released room with a subscriber or a used feature is not forgotten", async () => {
  const { world, client } = await connectedClient();
  const uses = [
    (room: Room) => void room.state.subscribe(() => {}),
    (room: Room) => void room.messages.subscribe(() => {}),
    (room: Room) => void typing(room).subscribe(() => {}),
  ];
  for (const [at, use] of uses.entries()) {
    const id = `gone${at}`;
    const weak = await visit(world, client, id, use);
    await collectGarbage();
    expect(weak.deref()).toBe(client.room(id));
  }
});
