/** Additions to rooms, removals and changes of rooms; members and their roles. */

import { expect, test } from "vitest";
import {
  createRoom,
  joinRoom,
  leaveRoom,
  publicRooms,
  removeMember,
  setMember,
  updateRoom,
} from "../src/http.js";
import { members } from "../src/live.js";
import { expectInOrder, expectShownEqualsStored } from "./support/history.js";
import { System } from "./support/system.js";
import { quietPeriod, waitUntil } from "./support/until.js";

const system = new System({ gateways: 2, proxied: true });

const phase = (
  person: { client: { room(id: string): { state: { get(): { phase: string } } } } },
  room: string,
) => person.client.room(room).state.get().phase;

test("a room appears in the list after an addition and is complete from the start", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  await waitUntil("the list is loaded", () => alice.client.rooms.get().loaded);
  const room = await system.room([bob], { name: "Tea" });
  await system.post(bob, room, "before alice");
  expect(alice.listed(room)).toBeUndefined();
  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`);
  await waitUntil("the room is listed", () => alice.listed(room) !== undefined);
  await alice.open(room);
  await system.post(bob, room, "welcome");
  await waitUntil("the live message arrives", () => alice.texts(room).at(-1) === "welcome");
  await expectShownEqualsStored(system, alice, room);
  expect(alice.listed(room)).toMatchObject({ name: "Tea", kind: "private", role: "member", members: 2 });
  // A client receives the messages of a room that it has not opened.
  await system.post(bob, room, "listed");
  await waitUntil("the list shows the message", () => alice.listed(room)?.lastMessage?.content === "listed");
});

test("a removed user loses the room and has it again after an addition", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([bob, alice.id]);
  await system.post(bob, room, "one");
  await alice.open(room);
  await system.http(bob, "DELETE", `/rooms/${room}/members/${alice.id}`);
  await waitUntil("the room is removed", () => phase(alice, room) === "removed");
  await waitUntil("the room is not listed", () => alice.listed(room) === undefined);
  await system.post(bob, room, "behind their back");
  const refused = alice.client.room(room).send("hello?");
  await waitUntil("the message is refused", () =>
    alice.client.outbox
      .get()
      .some(({ clientId, status }) => clientId === refused.clientId && status === "failed"),
  );
  alice.client.outbox.discard(refused.clientId);
  await quietPeriod();
  expect(JSON.stringify(alice.events)).not.toContain("behind their back");

  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`, { role: "admin" });
  await waitUntil("the client is back", () => phase(alice, room) === "live");
  await waitUntil("the room is listed", () => alice.listed(room)?.role === "admin");
  await alice.send(room, "I am back");
  await expectShownEqualsStored(system, alice, room);
  expectInOrder(alice, room);
});

test("the list is correct after additions and removals while away", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const [lostRoom, keptRoom] = [await system.room([bob, alice.id]), await system.room([bob, alice.id])];
  await alice.open(lostRoom, keptRoom);
  for (const number of [0, 1]) {
    await system.stack.link("gateway", number, "refuse");
    await system.stack.link("gateway", number, "cut");
  }
  await system.http(bob, "DELETE", `/rooms/${lostRoom}/members/${alice.id}`);
  const newRoom = await system.room([bob, alice.id], { name: "New" });
  await system.post(bob, newRoom, "hello");
  await system.heal();
  await waitUntil("the new room is listed", () => alice.listed(newRoom)?.lastMessage?.content === "hello");
  await waitUntil(
    "the lost room is gone",
    () => alice.listed(lostRoom) === undefined && phase(alice, lostRoom) === "removed",
  );
  await alice.open(newRoom);
  await system.post(bob, newRoom, "live");
  await waitUntil("the live message arrives", () => alice.texts(newRoom).at(-1) === "live");
  for (const room of [keptRoom, newRoom]) await expectShownEqualsStored(system, alice, room);
});

test("a user who leaves a room leaves it on all devices", async () => {
  const id = system.name("alice");
  const [phone, laptop] = [await system.connected(id), await system.connected(id)];
  const room = await system.room([system.name("bob"), id]);
  await Promise.all([phone.open(room), laptop.open(room)]);
  await leaveRoom(phone.client, room);
  for (const device of [phone, laptop]) {
    await waitUntil(
      "the room is gone",
      () => phase(device, room) === "removed" && device.listed(room) === undefined,
    );
  }
});

test("the members list follows additions, changes and removals", async () => {
  const [alice, carol] = [
    await system.connected(system.name("alice")),
    await system.connected(system.name("carol")),
  ];
  const dave = system.name("dave");
  const room = await system.room([alice.id, carol.id]);
  await Promise.all([alice.open(room), carol.open(room)]);
  const roles = (person = carol) =>
    Object.fromEntries((members(person.client.room(room)).get() ?? []).map(({ user, role }) => [user, role]));
  expect(members(carol.client.room(room)).get()).toBeUndefined();
  await members(carol.client.room(room)).load();
  expect(roles()).toEqual({ [alice.id]: "owner", [carol.id]: "member" });
  await setMember(alice.client, room, dave);
  await setMember(alice.client, room, carol.id, "admin");
  await waitUntil("all changes arrive", () => roles()[dave] === "member" && roles()[carol.id] === "admin");
  expect(carol.listed(room)).toMatchObject({ role: "admin", members: 3 });
  await setMember(carol.client, room, dave, "guest");
  await waitUntil("the change arrives", () => roles()[dave] === "guest");
  await removeMember(carol.client, room, dave);
  await waitUntil("the member is gone", () => !(dave in roles()));
  await expect(removeMember(carol.client, room, alice.id)).rejects.toMatchObject({ code: "forbidden" });
  await expect(leaveRoom(alice.client, room)).rejects.toMatchObject({ code: "conflict" });
  expect(alice.listed(room)?.members).toBe(2);
});

test("another role shows other messages, also of the past", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([bob, alice.id]);
  await system.post(bob, room, "for all");
  await system.post(bob, room, "for admins", { visible_to: { roles: ["admin"] } });
  await alice.open(room);
  expect(alice.texts(room)).toEqual(["for all"]);
  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`, { role: "admin" });
  await waitUntil("the change is visible", () => alice.texts(room).length === 2);
  await expectShownEqualsStored(system, alice, room);
  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`, { role: "guest" });
  await waitUntil("the message is hidden", () => alice.texts(room).length === 1);
  await expectShownEqualsStored(system, alice, room);
  const refused = alice.client.room(room).send("guests say nothing");
  await waitUntil("the message is refused", () =>
    alice
      .rows(room)
      .some(({ clientId, error }) => clientId === refused.clientId && error?.code === "forbidden"),
  );
});

test("all clients see a renamed, described and archived room, live and after a reconnect", async () => {
  const [alice, carol] = [
    await system.connected(system.name("alice")),
    await system.connected(system.name("carol")),
  ];
  const room = await system.room([alice.id, carol.id], { name: "Old" });
  await alice.open(room);
  await waitUntil("the room is listed", () => carol.listed(room)?.name === "Old");
  await updateRoom(alice.client, room, { name: "New", metadata: { topic: "tea" } });
  for (const person of [alice, carol]) {
    await waitUntil("the new name arrives", () => person.listed(room)?.name === "New");
    expect(person.listed(room)).toMatchObject({ metadata: { topic: "tea" }, archived: false });
  }
  expect(alice.client.room(room).state.get().summary).toMatchObject({ name: "New" });
  carol.client.disconnect();
  await updateRoom(alice.client, room, { name: "", archived: true });
  await carol.client.connect();
  for (const person of [alice, carol]) {
    await waitUntil("the room is archived", () => person.listed(room)?.archived === true);
    expect(person.listed(room)?.name).toBeNull();
  }
});

test("public rooms are found and joined, and direct rooms know the peer", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = await system.connected(system.name("bob"), { name: "Bob" });
  const name = system.name("Garden");
  const { id: room } = await createRoom(bob.client, { kind: "public", name });
  const publicPage = await publicRooms(alice.client, { query: name });
  expect(publicPage.rooms.map((each) => each.id)).toEqual([room]);
  await joinRoom(alice.client, room);
  await waitUntil("the room is listed", () => alice.listed(room)?.role === "member");
  await alice.open(room);
  await alice.send(room, "nice garden");
  await expectShownEqualsStored(system, alice, room);
  const direct = await createRoom(alice.client, { kind: "direct", members: [{ user: bob.id }] });
  await alice.open(direct.id);
  await bob.open(direct.id);
  await bob.send(direct.id, "hello");
  await waitUntil("the peer is known", () => alice.listed(direct.id)?.peer?.user === bob.id);
  expect(alice.listed(direct.id)).toMatchObject({ name: null, peer: { user: bob.id, name: "Bob" } });
});
