/** Reads over HTTP that return an older state are repeated until the state is recent enough. */
import { expect, test } from "vitest";
import { members } from "../src/live.js";
import { World } from "./support/world.js";

async function openRoom(world: World) {
  const { client, room } = await world.opened();
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

test("additions and removals change a loaded list without a read", async () => {
  const world = new World();
  const { client, room, countReads } = await openRoom(world);
  await Promise.all([members(room).load(), world.clock.pass(100)]);
  const names = () => (members(room).get() ?? []).map(({ user, name }) => name ?? user);
  const readsBefore = countReads("/members");
  const picture = "https://example.org/bea.png";
  const addition = { type: "member:added", user: "bea", name: "Bea", picture, role: "member", by: "alice" };
  world.server.append("r", addition);
  world.server.append("r", { type: "member:added", user: "carol", role: "member", by: "alice" });
  await world.clock.pass(100);
  expect(names()).toEqual(["alice", "Bea", "bob", "carol"]);
  expect(members(room).get()?.[1]).toMatchObject({ user: "bea", picture, role: "member" });
  world.server.append("r", { type: "member:removed", user: "carol", by: "alice" });
  await world.clock.pass(100);
  expect(names()).toEqual(["alice", "Bea", "bob"]);
  world.cut();
  await world.clock.pass(120_000);
  expect(countReads("/members") - readsBefore).toBe(0);
  client.close();
});

test("the members of a large room are read by page, and events change the loaded pages only", async () => {
  const world = new World();
  const user = (n: number) => `u${String(n).padStart(5, "0")}`;
  for (let n = 0; n < 9_999; n++) world.server.room().others.push(user(n));
  const { client, room, countReads } = await openRoom(world);
  const list = members(room);
  const load = async (read: () => Promise<unknown>) => {
    await Promise.all([read(), read(), world.clock.pass(100)]);
    return list.get()?.length;
  };
  expect(await load(list.load)).toBe(200);
  expect([list.hasMore, countReads("/members")]).toEqual([true, 1]);
  expect(await load(list.loadMore)).toBe(400);
  world.server.addMember("r", "u00007b", "Between");
  world.server.addMember("r", "u05000b", "Beyond");
  world.server.append("r", { type: "member:removed", user: user(3), by: "alice" });
  await world.clock.pass(100);
  const has = (id: string) => list.get()?.some((member) => member.user === id);
  expect([list.get()?.length, has("u00007b"), has("u05000b"), has(user(3))]).toEqual([
    400,
    true,
    false,
    false,
  ]);
  expect(countReads("/members")).toBe(2);
  // Both reads run, one after the other. The scripted server still lists the removed member.
  await Promise.all([list.loadMore(), list.load(), world.clock.pass(100)]);
  expect([list.get()?.length, countReads("/members")]).toEqual([199, 4]);
  client.close();
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
