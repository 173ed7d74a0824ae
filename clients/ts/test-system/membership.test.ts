/** Rooms that one comes into, is thrown out of, and sees change; members and their roles. */

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
import { expectInOrder, expectWhole } from "./support/history.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({ gateways: 2, proxied: true });

const phase = (
  person: { client: { room(id: string): { state: { get(): { phase: string } } } } },
  room: string,
) => person.client.room(room).state.get().phase;

test("a room that one is added to appears in the list, and is whole from the start", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  await until("the list is loaded", () => alice.client.rooms.get().loaded);
  const room = await system.room([bob], { name: "Tea" });
  await system.post(bob, room, "before alice");
  expect(alice.listed(room)).toBeUndefined();
  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`);
  await until("it is listed", () => alice.listed(room) !== undefined);
  await alice.open(room);
  await system.post(bob, room, "welcome");
  await until("it hears", () => alice.texts(room).at(-1) === "welcome");
  await expectWhole(system, alice, room);
  expect(alice.listed(room)).toMatchObject({ name: "Tea", kind: "private", role: "member", members: 2 });
  // Also who does not open it hears of what is said there.
  await system.post(bob, room, "listed");
  await until("the list shows it", () => alice.listed(room)?.lastMessage?.content === "listed");
});

test("who is removed loses the room, and has it again when they are put back", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([bob, alice.id]);
  await system.post(bob, room, "one");
  await alice.open(room);
  await system.http(bob, "DELETE", `/rooms/${room}/members/${alice.id}`);
  await until("it is removed", () => phase(alice, room) === "removed");
  await until("it is not listed", () => alice.listed(room) === undefined);
  await system.post(bob, room, "behind their back");
  const refused = alice.client.room(room).send("hello?");
  await until("it is refused", () =>
    alice.client.outbox
      .get()
      .some(({ clientId, status }) => clientId === refused.clientId && status === "failed"),
  );
  alice.client.outbox.discard(refused.clientId);
  await rest(200);
  expect(JSON.stringify(alice.events)).not.toContain("behind their back");

  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`, { role: "admin" });
  await until("it is back", () => phase(alice, room) === "live");
  await until("it is listed", () => alice.listed(room)?.role === "admin");
  await alice.say(room, "I am back");
  await expectWhole(system, alice, room);
  expectInOrder(alice, room);
});

test("added and removed while away: the list is right after the reconnect", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const [lost, kept] = [await system.room([bob, alice.id]), await system.room([bob, alice.id])];
  await alice.open(lost, kept);
  for (const number of [0, 1]) {
    await system.stack.link("gateway", number, "refuse");
    await system.stack.link("gateway", number, "cut");
  }
  await system.http(bob, "DELETE", `/rooms/${lost}/members/${alice.id}`);
  const gained = await system.room([bob, alice.id], { name: "New" });
  await system.post(bob, gained, "hello");
  await system.heal();
  await until("the new one is listed", () => alice.listed(gained)?.lastMessage?.content === "hello");
  await until(
    "the lost one is gone",
    () => alice.listed(lost) === undefined && phase(alice, lost) === "removed",
  );
  await alice.open(gained);
  await system.post(bob, gained, "live");
  await until("it hears", () => alice.texts(gained).at(-1) === "live");
  for (const room of [kept, gained]) await expectWhole(system, alice, room);
});

test("who leaves a room by themselves is out of it on all of their devices", async () => {
  const id = system.name("alice");
  const [phone, laptop] = [await system.connected(id), await system.connected(id)];
  const room = await system.room([system.name("bob"), id]);
  await Promise.all([phone.open(room), laptop.open(room)]);
  await leaveRoom(phone.client, room);
  for (const device of [phone, laptop]) {
    await until("it is gone", () => phase(device, room) === "removed" && device.listed(room) === undefined);
  }
});

test("members are kept true while they come, change and go", async () => {
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
  await until("all is known", () => roles()[dave] === "member" && roles()[carol.id] === "admin");
  expect(carol.listed(room)).toMatchObject({ role: "admin", members: 3 });
  await setMember(carol.client, room, dave, "guest");
  await until("it is known", () => roles()[dave] === "guest");
  await removeMember(carol.client, room, dave);
  await until("he is gone", () => !(dave in roles()));
  await expect(removeMember(carol.client, room, alice.id)).rejects.toMatchObject({ code: "forbidden" });
  await expect(leaveRoom(alice.client, room)).rejects.toMatchObject({ code: "conflict" });
  expect(alice.listed(room)?.members).toBe(2);
});

test("with another role one sees other things, also of the past", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([bob, alice.id]);
  await system.post(bob, room, "for all");
  await system.post(bob, room, "for admins", { visible_to: { roles: ["admin"] } });
  await alice.open(room);
  expect(alice.texts(room)).toEqual(["for all"]);
  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`, { role: "admin" });
  await until("it is seen", () => alice.texts(room).length === 2);
  await expectWhole(system, alice, room);
  await system.http(bob, "PUT", `/rooms/${room}/members/${alice.id}`, { role: "guest" });
  await until("it is not seen", () => alice.texts(room).length === 1);
  await expectWhole(system, alice, room);
  const refused = alice.client.room(room).send("guests say nothing");
  await until("it is refused", () =>
    alice
      .rows(room)
      .some(({ clientId, error }) => clientId === refused.clientId && error?.code === "forbidden"),
  );
});

test("a room that is renamed, described and archived is so for all, live and after having been away", async () => {
  const [alice, carol] = [
    await system.connected(system.name("alice")),
    await system.connected(system.name("carol")),
  ];
  const room = await system.room([alice.id, carol.id], { name: "Old" });
  await alice.open(room);
  await until("it is listed", () => carol.listed(room)?.name === "Old");
  await updateRoom(alice.client, room, { name: "New", metadata: { topic: "tea" } });
  for (const person of [alice, carol]) {
    await until("the name is known", () => person.listed(room)?.name === "New");
    expect(person.listed(room)).toMatchObject({ metadata: { topic: "tea" }, archived: false });
  }
  expect(alice.client.room(room).state.get().summary).toMatchObject({ name: "New" });
  carol.client.disconnect();
  await updateRoom(alice.client, room, { name: "", archived: true });
  await carol.client.connect();
  for (const person of [alice, carol]) {
    await until("it is archived", () => person.listed(room)?.archived === true);
    expect(person.listed(room)?.name).toBeNull();
  }
});

test("public rooms are found and joined, direct ones know the other one", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = await system.connected(system.name("bob"), { name: "Bob" });
  const name = system.name("Garden");
  const { room } = await createRoom(bob.client, { kind: "public", name });
  const found = await publicRooms(alice.client, { query: name });
  expect(found.rooms.map((each) => each.room)).toEqual([room]);
  await joinRoom(alice.client, room);
  await until("it is listed", () => alice.listed(room)?.role === "member");
  await alice.open(room);
  await alice.say(room, "nice garden");
  await expectWhole(system, alice, room);
  const direct = await createRoom(alice.client, { kind: "direct", members: [{ user: bob.id }] });
  await alice.open(direct.room);
  await bob.open(direct.room);
  await bob.say(direct.room, "hello");
  await until("the other one is known", () => alice.listed(direct.room)?.peer?.user === bob.id);
  expect(alice.listed(direct.room)).toMatchObject({ name: null, peer: { user: bob.id, name: "Bob" } });
});
