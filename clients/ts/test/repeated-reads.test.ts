/** Reads over HTTP that return an older state are repeated until they include what is known. */
import { expect, test } from "vitest";
import { members } from "../src/live.js";
import { World } from "./support/world.js";

async function started(world: World) {
  const client = world.client();
  client.connect().catch(() => {});
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  const asked = (path: string) =>
    world.model.requests.filter((line) => line.replace(/\?.*/, "") === `GET /rooms/r${path}`).length;
  return { client, room, asked };
}

test("the kit reads the unread count again, with doubling pauses, until it includes the mark", async () => {
  const world = new World();
  for (let i = 1; i <= 5; i++) world.model.appendMessage(`${i}`);
  const { client, room, asked } = await started(world);
  const shown = () => client.rooms.get().items[0];
  expect(shown()).toMatchObject({ unread: 5 });
  // The kit knows the mark at once, and storage lags behind for a while.
  let behind = true;
  world.model.http = (_method, path) =>
    behind && path === "/rooms/r"
      ? { status: 200, body: { ...world.model.object("r", "alice"), read_seq: 0, unread: 5 } }
      : undefined;
  const before = asked("");
  room.markRead(3);
  await world.clock.pass(4_500);
  // The reads are at 0.3, 0.8, 1.8 and 3.8 s.
  expect(asked("") - before).toBe(4);
  expect(shown()).toMatchObject({ readSeq: 3 });
  behind = false;
  await world.clock.pass(5_000);
  expect(shown()).toMatchObject({ readSeq: 3, unread: 2 });
  const enough = asked("");
  await world.clock.pass(120_000);
  expect(asked("")).toBe(enough);
  client.close();
});

test("the kit stops reading the unread count when no answer includes the mark", async () => {
  const world = new World();
  for (let i = 1; i <= 5; i++) world.model.appendMessage(`${i}`);
  const { client, room, asked } = await started(world);
  world.model.http = (_method, path) =>
    path === "/rooms/r"
      ? { status: 200, body: { ...world.model.object("r", "alice"), read_seq: 0, unread: 5 } }
      : undefined;
  const before = asked("");
  room.markRead(3);
  await world.clock.pass(600_000);
  expect(asked("") - before).toBe(8);
  client.close();
});

test("new members are read together, and again until storage knows all their names", async () => {
  const world = new World();
  const { client, room, asked } = await started(world);
  const stored = [{ user: "alice", name: "Alice", role: "owner", joined_at: world.model.at() }];
  world.model.http = (_method, path) =>
    path === "/rooms/r/members" ? { status: 200, body: { members: stored, next: null } } : undefined;
  await Promise.all([members(room).load(), world.clock.pass(100)]);
  const names = () =>
    members(room)
      .get()
      ?.map(({ user, name }) => name ?? user);
  expect(names()).toEqual(["Alice"]);
  const before = asked("/members");
  for (const user of ["bob", "carol"]) {
    world.model.append("r", { type: "member:added", user, role: "member", by: "alice" });
  }
  await world.clock.pass(500);
  // The events make the new members visible at once.
  expect(names()).toEqual(["Alice", "bob", "carol"]);
  expect(asked("/members") - before).toBe(0);
  await world.clock.pass(1_000);
  expect(asked("/members") - before).toBe(1);
  stored.push({ user: "bob", name: "Bob", role: "member", joined_at: world.model.at() });
  await world.clock.pass(2_000);
  // One of them is still missing in storage.
  expect(names()).toEqual(["Alice", "Bob", "carol"]);
  expect(asked("/members") - before).toBe(2);
  stored.push({ user: "carol", name: "Carol", role: "member", joined_at: world.model.at() });
  await world.clock.pass(5_000);
  expect(names()).toEqual(["Alice", "Bob", "Carol"]);
  expect(asked("/members") - before).toBe(3);
  await world.clock.pass(120_000);
  expect(asked("/members") - before).toBe(3);
  client.close();
});

test("a cut right after members were added does not keep their names from being read", async () => {
  const world = new World();
  const { client, room, asked } = await started(world);
  const stored: object[] = [{ user: "alice", name: "Alice", role: "owner", joined_at: world.model.at() }];
  world.model.http = (_method, path) =>
    path === "/rooms/r/members" ? { status: 200, body: { members: stored, next: null } } : undefined;
  await Promise.all([members(room).load(), world.clock.pass(100)]);
  stored.push({ user: "bob", name: "Bob", role: "member", joined_at: world.model.at() });
  world.model.append("r", { type: "member:added", user: "bob", role: "member", by: "alice" });
  await world.clock.pass(100);
  world.cut();
  await world.clock.pass(60_000);
  expect(
    members(room)
      .get()
      ?.map(({ name }) => name),
  ).toEqual(["Alice", "Bob"]);
  const { length } = world.model.requests;
  world.cut();
  await world.clock.pass(60_000);
  expect(world.model.requests.slice(length).filter((request) => request.includes("/members"))).toEqual([]);
  expect(asked("/members")).toBe(2);
  // Once the client is closed it stops asking for a name that storage never returns.
  world.model.append("r", { type: "member:added", user: "carol", role: "member", by: "alice" });
  await world.clock.pass(1_012);
  client.close();
  expect(asked("/members")).toBe(3);
  await world.clock.pass(60_000);
  expect(asked("/members")).toBe(3);
});

test("an added member does not load a members list that nobody requested", async () => {
  const world = new World();
  const { client, room, asked } = await started(world);
  expect(members(room).get()).toBeUndefined();
  world.model.append("r", { type: "member:added", user: "bob", role: "member", by: "alice" });
  await world.clock.pass(60_000);
  expect(asked("/members")).toBe(0);
  client.close();
});
