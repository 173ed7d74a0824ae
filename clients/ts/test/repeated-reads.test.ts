/** Reads over HTTP that return an older state are repeated until the state is recent enough. */
import { expect, test } from "vitest";
import { members } from "../src/live.js";
import { World } from "./support/world.js";

async function openRoom(world: World) {
  const client = world.client();
  client.connect().catch(() => {});
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  const countReads = (path: string) =>
    world.server.requests.filter((line) => line.replace(/\?.*/, "") === `GET /rooms/r${path}`).length;
  return { client, room, countReads };
}

test("the kit reads the unread count again, with doubling pauses, until it includes the mark", async () => {
  const world = new World();
  for (let i = 1; i <= 5; i++) world.server.appendMessage(`${i}`);
  const { client, room, countReads } = await openRoom(world);
  const listedRoom = () => client.rooms.get().items[0];
  expect(listedRoom()).toMatchObject({ unread: 5 });
  // The kit has the mark at once. The database has it a little later.
  let behind = true;
  world.server.http = (_method, path) =>
    behind && path === "/rooms/r"
      ? { status: 200, body: { ...world.server.object("r", "alice"), read_seq: 0, unread: 5 } }
      : undefined;
  const readsBefore = countReads("");
  room.markRead(3);
  await world.clock.pass(4_500);
  // The reads are at 0.3, 0.8, 1.8 and 3.8 s.
  expect(countReads("") - readsBefore).toBe(4);
  expect(listedRoom()).toMatchObject({ readSeq: 3 });
  behind = false;
  await world.clock.pass(5_000);
  expect(listedRoom()).toMatchObject({ readSeq: 3, unread: 2 });
  const readsAtEnd = countReads("");
  await world.clock.pass(120_000);
  expect(countReads("")).toBe(readsAtEnd);
  client.close();
});

test("the kit stops reading the unread count when no answer includes the mark", async () => {
  const world = new World();
  for (let i = 1; i <= 5; i++) world.server.appendMessage(`${i}`);
  const { client, room, countReads } = await openRoom(world);
  world.server.http = (_method, path) =>
    path === "/rooms/r"
      ? { status: 200, body: { ...world.server.object("r", "alice"), read_seq: 0, unread: 5 } }
      : undefined;
  const readsBefore = countReads("");
  room.markRead(3);
  await world.clock.pass(600_000);
  expect(countReads("") - readsBefore).toBe(8);
  client.close();
});

test("new members are read together, and again until storage knows all their names", async () => {
  const world = new World();
  const { client, room, countReads } = await openRoom(world);
  const stored = [{ user: "alice", name: "Alice", role: "owner", joined_at: world.server.at() }];
  world.server.http = (_method, path) =>
    path === "/rooms/r/members" ? { status: 200, body: { members: stored, next: null } } : undefined;
  await Promise.all([members(room).load(), world.clock.pass(100)]);
  const names = () =>
    members(room)
      .get()
      ?.map(({ user, name }) => name ?? user);
  expect(names()).toEqual(["Alice"]);
  const readsBefore = countReads("/members");
  for (const user of ["bob", "carol"]) {
    world.server.append("r", { type: "member:added", user, role: "member", by: "alice" });
  }
  await world.clock.pass(500);
  // The events make the new members visible at once.
  expect(names()).toEqual(["Alice", "bob", "carol"]);
  expect(countReads("/members") - readsBefore).toBe(0);
  await world.clock.pass(1_000);
  expect(countReads("/members") - readsBefore).toBe(1);
  stored.push({ user: "bob", name: "Bob", role: "member", joined_at: world.server.at() });
  await world.clock.pass(2_000);
  // The database does not have one of the new members yet.
  expect(names()).toEqual(["Alice", "Bob", "carol"]);
  expect(countReads("/members") - readsBefore).toBe(2);
  stored.push({ user: "carol", name: "Carol", role: "member", joined_at: world.server.at() });
  await world.clock.pass(5_000);
  expect(names()).toEqual(["Alice", "Bob", "Carol"]);
  expect(countReads("/members") - readsBefore).toBe(3);
  await world.clock.pass(120_000);
  expect(countReads("/members") - readsBefore).toBe(3);
  client.close();
});

test("a cut right after members were added does not keep their names from being read", async () => {
  const world = new World();
  const { client, room, countReads } = await openRoom(world);
  const stored: object[] = [{ user: "alice", name: "Alice", role: "owner", joined_at: world.server.at() }];
  world.server.http = (_method, path) =>
    path === "/rooms/r/members" ? { status: 200, body: { members: stored, next: null } } : undefined;
  await Promise.all([members(room).load(), world.clock.pass(100)]);
  stored.push({ user: "bob", name: "Bob", role: "member", joined_at: world.server.at() });
  world.server.append("r", { type: "member:added", user: "bob", role: "member", by: "alice" });
  await world.clock.pass(100);
  world.cut();
  await world.clock.pass(60_000);
  expect(
    members(room)
      .get()
      ?.map(({ name }) => name),
  ).toEqual(["Alice", "Bob"]);
  const { length } = world.server.requests;
  world.cut();
  await world.clock.pass(60_000);
  expect(world.server.requests.slice(length).filter((request) => request.includes("/members"))).toEqual([]);
  expect(countReads("/members")).toBe(2);
  // A closed client does not request the missing name again.
  world.server.append("r", { type: "member:added", user: "carol", role: "member", by: "alice" });
  await world.clock.pass(1_012);
  client.close();
  expect(countReads("/members")).toBe(3);
  await world.clock.pass(60_000);
  expect(countReads("/members")).toBe(3);
});

test("an added member does not load a members list that nobody requested", async () => {
  const world = new World();
  const { client, room, countReads } = await openRoom(world);
  expect(members(room).get()).toBeUndefined();
  world.server.append("r", { type: "member:added", user: "bob", role: "member", by: "alice" });
  await world.clock.pass(60_000);
  expect(countReads("/members")).toBe(0);
  client.close();
});
