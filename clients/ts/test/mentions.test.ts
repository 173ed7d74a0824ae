// Mentions, their counts, the notification level and the search for people, from the wire to the app.
import { expect, test } from "vitest";
import { editMessage } from "../src/changes.js";
import { draft } from "../src/drafts.js";
import { people, setNotify } from "../src/http.js";
import { World } from "./support/world.js";

/** A client of alice whose list of rooms is loaded, with the room `r`. */
async function connectedClient(prepare: (world: World) => void = () => {}) {
  const world = new World();
  prepare(world);
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const listedRoom = () => client.rooms.get().items.find(({ id }) => id === "r");
  const settle = async <T>(work: Promise<T>): Promise<T> =>
    (await Promise.all([work, world.clock.pass(1_000)]))[0];
  return { client, world, listedRoom, settle };
}

test("a message that is sent shows and sends its mentions", async () => {
  const { client, world } = await connectedClient();
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  expect(room.send("hello", { mentions: ["bob"] }).mentions).toEqual(["bob"]);
  room.send("nobody");
  await world.clock.pass(1_000);
  expect(world.server.framesOf("message:send").map(({ mentions }) => mentions)).toEqual([["bob"], undefined]);
  expect(room.messages.get().items.map(({ mentions }) => mentions)).toEqual([["bob"], undefined]);
});

test("a draft keeps its mentions and sends them", async () => {
  const { client, world } = await connectedClient();
  const note = draft(client.room("r"));
  note.set({ content: "@bob hello", mentions: ["bob"] });
  expect(note.get().mentions).toEqual(["bob"]);
  note.send();
  await world.clock.pass(1_000);
  expect(world.server.framesOf("message:send")).toEqual([expect.objectContaining({ mentions: ["bob"] })]);
  expect(note.get().mentions).toBeUndefined();
});

test("an edit replaces the mentions or keeps them, and a deletion removes them", async () => {
  const { client, world, settle } = await connectedClient(({ server }) => {
    server.say("r", "alice", "one", ["bob"]);
  });
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  const mentions = () => room.messages.get().items[0]?.mentions;
  expect(mentions()).toEqual(["bob"]);
  await settle(editMessage(room, 1, "two"));
  expect(mentions()).toEqual(["bob"]);
  await settle(editMessage(room, 1, "three", undefined, ["carol"]));
  expect(mentions()).toEqual(["carol"]);
  await settle(editMessage(room, 1, "four", undefined, []));
  expect(mentions()).toEqual([]);
  await settle(editMessage(room, 1, "five", undefined, ["bob"]));
  world.server.append("r", { type: "message:deleted", target: 1, target_id: "m1-r", by: "alice" });
  await world.clock.pass(100);
  expect(mentions()).toBeUndefined();
});

test("unread mentions are those of the list and of later messages, until they are read", async () => {
  const { client, world, listedRoom } = await connectedClient(({ server }) => {
    server.say("r", "bob", "1", ["alice", "carol"]);
    server.say("r", "bob", "2", ["carol"]);
  });
  expect(listedRoom()).toMatchObject({ unread: 2, unreadMentions: 1 });
  const last = world.server.say("r", "bob", "3", ["alice"]);
  world.server.say("r", "bob", "4");
  world.server.say("r", "alice", "mine", ["alice"]);
  await world.clock.pass(100);
  expect(listedRoom()).toMatchObject({ unread: 4, unreadMentions: 2 });
  client.room("r").markRead(last.seq as number);
  expect(listedRoom()).toMatchObject({ unread: 1, unreadMentions: 0 });
});

test("a deleted or voided message is no unread mention", async () => {
  const { world, listedRoom } = await connectedClient();
  for (const type of ["message:deleted", "message:void"]) {
    const { seq, id } = world.server.say("r", "bob", "x", ["alice"]);
    await world.clock.pass(100);
    expect(listedRoom()).toMatchObject({ unread: 1, unreadMentions: 1 });
    world.server.append("r", {
      type,
      target: seq,
      target_id: id,
      client_id: "c",
      by: "bob",
      reason: "rejected",
    });
    await world.clock.pass(100);
    expect(listedRoom()).toMatchObject({ unread: 0, unreadMentions: 0 });
  }
});

test("the notification level is that of the list, and a change reaches the list", async () => {
  const { client, world, listedRoom, settle } = await connectedClient();
  expect(listedRoom()?.notify).toBe("all");
  await settle(setNotify(client, "r", "mentions"));
  expect(world.server.requests).toContain("PATCH /rooms/r/me");
  expect(listedRoom()?.notify).toBe("mentions");
});

test("a search for people gives their ids, names and pictures, and skips malformed ones", async () => {
  const { client, world, settle } = await connectedClient();
  expect(await settle(people(client, "b", { room: "r" }))).toEqual([{ user: "bob" }]);
  expect(world.server.requests).toContain("GET /me/people?query=b&room=r");
  const found = [{ user: "zoe", name: "Zoë", picture: null }, { name: "nobody" }];
  world.server.http = (_method, path) =>
    path === "/me/people" ? { status: 200, body: { people: found } } : undefined;
  expect(await settle(people(client, "z"))).toEqual([{ user: "zoe", name: "Zoë" }]);
});
