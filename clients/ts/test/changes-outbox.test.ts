// Changes of messages in the outbox: kept over reloads, shown at once, sent once and in order, undone when refused.
import { expect, test } from "vitest";
import { deleteMessage, editMessage, react } from "../src/changes.js";
import type { Room, StorageAdapter } from "../src/index.js";
import { settle } from "../src/testing.js";
import { sharedDisk, World } from "./support/world.js";

/** A world with two messages of alice, and a client that has lost its connection. */
async function openOffline(storage?: StorageAdapter) {
  const world = new World();
  world.server.appendMessage("one", "alice");
  world.server.appendMessage("two", "alice");
  const opened = await world.opened({ storage });
  world.down = true;
  world.cut();
  await world.clock.pass(100);
  return opened;
}

const first = (room: Room) => room.messages.get().items[0];
const types = (world: World) => world.server.room().log.map(({ type }) => type);
const ignore = (promise: Promise<unknown>) => void promise.catch(() => {});

test("an edit, a deletion and a reaction are shown at once as pending", async () => {
  const { room } = await openOffline();
  ignore(editMessage(room, 1, "edited", { a: 1 }));
  expect(first(room)).toMatchObject({
    content: "edited",
    metadata: { a: 1 },
    lastSeq: 1,
    pendingChange: { type: "message:edit", status: "sending" },
  });
  ignore(react(room, 1, "👍"));
  expect(first(room)?.reactions).toEqual([{ emoji: "👍", count: 1, mine: true, users: ["alice"] }]);
  ignore(deleteMessage(room, 1));
  expect(first(room)).toMatchObject({
    content: "",
    deleted: true,
    pendingChange: { type: "message:delete" },
  });
});

test("a pending change is not an entry of the outbox's list and not a row", async () => {
  const { client, room } = await openOffline();
  ignore(editMessage(room, 1, "edited"));
  expect(client.outbox.get()).toEqual([]);
  expect(room.messages.get().items.length).toBe(2);
});

test("a reloaded page sends a kept edit once", async () => {
  const disk = sharedDisk();
  const { world, client, room } = await openOffline(disk.tab());
  ignore(editMessage(room, 1, "edited"));
  await settle();
  client.close();
  world.down = false;
  const after = await world.opened({ storage: disk.tab() });
  await world.clock.pass(60_000);
  expect(first(after.room)).toMatchObject({ content: "edited", lastSeq: 3 });
  expect(first(after.room)?.pendingChange).toBeUndefined();
  expect(types(world)).toEqual(["message:new", "message:new", "message:edited"]);
  expect((await disk.keys?.())?.filter((key) => key.includes("/out/"))).toEqual([]);
});

test("a kept edit shows its mentions and sends them after a reload", async () => {
  const disk = sharedDisk();
  const { world, client, room } = await openOffline(disk.tab());
  ignore(editMessage(room, 1, "@bob edited", undefined, ["bob"]));
  expect(first(room)?.mentions).toEqual(["bob"]);
  await settle();
  client.close();
  world.down = false;
  world.server.hook = ({ type }) =>
    type === "message:edit" ? { type: "error", code: "unavailable" } : undefined;
  const after = await world.opened({ storage: disk.tab() });
  // The use of any change makes the room show the changes of earlier pages.
  ignore(react(after.room, 2, "👍"));
  expect(first(after.room)).toMatchObject({ content: "@bob edited", mentions: ["bob"], lastSeq: 1 });
  world.server.hook = undefined;
  await world.clock.pass(60_000);
  expect(world.server.framesOf("message:edit").map(({ mentions }) => mentions)).toContainEqual(["bob"]);
  expect(world.server.room().log.find(({ type }) => type === "message:edited")?.mentions).toEqual(["bob"]);
  expect(first(after.room)?.mentions).toEqual(["bob"]);
  expect(first(after.room)?.pendingChange).toBeUndefined();
});

test("a pending edit without mentions keeps those of the message", async () => {
  const world = new World();
  world.server.say("r", "alice", "@bob one", ["bob"]);
  const { room } = await world.opened();
  world.down = true;
  world.cut();
  await world.clock.pass(100);
  ignore(editMessage(room, 1, "@bob edited"));
  expect(first(room)).toMatchObject({ content: "@bob edited", mentions: ["bob"] });
  ignore(editMessage(room, 1, "nobody", undefined, []));
  expect(first(room)?.mentions).toEqual([]);
});

test.each([
  { type: "message:edit", seq: 1 },
  { type: "message:edit", seq: 1, content: "x", mentions: "bob" },
  { type: "message:edit", seq: 1, content: "x", metadata: "text" },
  { type: "message:delete" },
  { type: "reaction:add", seq: 1 },
  { type: "unknown", seq: 1 },
  { type: "constructor", seq: 1 },
  {},
])("a damaged kept change is dropped and reported: %j", async (change) => {
  const disk = sharedDisk();
  const { world, client, room } = await openOffline(disk.tab());
  ignore(react(room, 1, "👍"));
  await settle();
  client.close();
  await settle();
  const key = (await disk.keys?.())?.find((name) => name.includes("/out/")) ?? "";
  const stored = JSON.parse((await disk.getItem(key)) ?? "");
  await disk.setItem(key, JSON.stringify({ ...stored, change }));
  world.down = false;
  await world.opened({ storage: disk.tab() });
  await world.clock.pass(60_000);
  expect(types(world)).toEqual(["message:new", "message:new"]);
  expect(world.errors.map(({ message }) => message)).toContain("an entry of the outbox is damaged");
  expect(await disk.getItem(key)).toBeNull();
});

test("an edit whose answer was lost with its page is not applied twice", async () => {
  const disk = sharedDisk();
  const world = new World();
  world.server.appendMessage("one", "alice");
  const tab = disk.tab();
  const { room } = await world.opened({ storage: tab });
  world.server.hook = ({ type }) => (type === "message:edit" ? "lose-answer" : undefined);
  ignore(editMessage(room, 1, "edited"));
  await world.clock.pass(100);
  tab.kill();
  world.cut();
  world.down = true;
  await world.clock.pass(60_000);
  world.down = false;
  world.server.hook = undefined;
  await world.opened({ storage: disk.tab() });
  await world.clock.pass(60_000);
  expect(types(world)).toEqual(["message:new", "message:edited"]);
});

test("changes and messages of a room are sent in the order of the user", async () => {
  const { world, room } = await openOffline();
  ignore(editMessage(room, 1, "edited"));
  room.send("three");
  ignore(react(room, 2, "👍"));
  ignore(deleteMessage(room, 1));
  world.down = false;
  await world.clock.pass(60_000);
  expect(types(world).slice(2)).toEqual([
    "message:edited",
    "message:new",
    "reaction:added",
    "message:deleted",
  ]);
});

test("a change waits for the messages that were sent before it", async () => {
  const { world, room } = await openOffline();
  world.server.onSend = { code: "unavailable" };
  room.send("three");
  ignore(react(room, 1, "👍"));
  world.down = false;
  await world.clock.pass(30_000);
  expect(world.server.framesOf("reaction:add")).toEqual([]);
  world.server.onSend = "ack";
  await world.clock.pass(30_000);
  expect(types(world).slice(2)).toEqual(["message:new", "reaction:added"]);
});

test("a change that the server cannot make now does not delay messages", async () => {
  const { world, room } = await openOffline();
  world.server.hook = ({ type }) =>
    type === "message:edit" ? { type: "error", code: "unavailable" } : undefined;
  const edited = editMessage(room, 1, "edited");
  room.send("three");
  world.down = false;
  await world.clock.pass(60_000);
  expect(world.server.contents()).toEqual(["one", "two", "three"]);
  world.server.hook = undefined;
  await world.clock.pass(60_000);
  await edited;
  expect(first(room)?.content).toBe("edited");
});

test("a refused edit is undone, and its caller gets the error", async () => {
  const { world, room } = await openOffline();
  world.server.hook = ({ type }) =>
    type === "message:edit" ? { type: "error", code: "forbidden" } : undefined;
  const code = editMessage(room, 1, "edited").catch((error) => error.code);
  world.down = false;
  await world.clock.pass(60_000);
  expect(await code).toBe("forbidden");
  expect(first(room)).toMatchObject({ content: "one" });
  expect(first(room)?.pendingChange).toBeUndefined();
  world.server.hook = undefined;
  world.cut();
  await world.clock.pass(60_000);
  expect(types(world)).toEqual(["message:new", "message:new"]);
});

/** A page whose room shows an edit that an earlier page has left and that the server refuses. */
async function openRefusedAfterReload() {
  const disk = sharedDisk();
  const { world, client, room } = await openOffline(disk.tab());
  ignore(editMessage(room, 1, "edited"));
  await settle();
  client.close();
  world.down = false;
  world.server.hook = ({ type, content }) =>
    type === "message:edit" && content === "edited" ? { type: "error", code: "forbidden" } : undefined;
  const after = await world.opened({ storage: disk.tab() });
  // The use of any change makes the room show the changes of earlier pages.
  ignore(react(after.room, 2, "👍"));
  await world.clock.pass(60_000);
  return after;
}

test("an edit that is refused after a reload is shown as failed, and can be discarded", async () => {
  const { client, room } = await openRefusedAfterReload();
  expect(first(room)).toMatchObject({
    content: "one",
    pendingChange: { type: "message:edit", status: "failed", error: { code: "forbidden" } },
  });
  client.outbox.discard(first(room)?.pendingChange?.clientId ?? "");
  expect(first(room)?.pendingChange).toBeUndefined();
});

test("an edit that failed after a reload can be sent again", async () => {
  const { world, client, room } = await openRefusedAfterReload();
  world.server.hook = undefined;
  client.outbox.retry(first(room)?.pendingChange?.clientId ?? "");
  await world.clock.pass(1_000);
  expect(first(room)).toMatchObject({ content: "edited" });
  expect(first(room)?.pendingChange).toBeUndefined();
});

test("a change that is kept in a storage settles after the next connect()", async () => {
  const { world, client, room } = await openOffline(sharedDisk().tab());
  const edited = editMessage(room, 1, "edited");
  await settle();
  client.disconnect();
  world.down = false;
  client.connect().catch(() => {});
  await world.clock.pass(10_000);
  await edited;
  expect(first(room)).toMatchObject({ content: "edited" });
});

test("a kept change is never sent as another user", async () => {
  const disk = sharedDisk();
  const { world, client, room } = await openOffline(disk.tab());
  ignore(editMessage(room, 1, "edited"));
  await settle();
  client.close();
  world.down = false;
  const bob = await world.opened({ storage: disk.tab(), user: "bob" });
  await world.clock.pass(60_000);
  bob.client.close();
  expect(world.server.framesOf("message:edit")).toEqual([]);
  await world.opened({ storage: disk.tab() });
  await world.clock.pass(60_000);
  expect(types(world)).toEqual(["message:new", "message:new", "message:edited"]);
});

test("a change counts against the limit of the outbox", async () => {
  const world = new World();
  world.server.appendMessage("one", "alice");
  const { room } = await world.opened({ outboxLimit: 0 });
  await expect(editMessage(room, 1, "edited")).rejects.toMatchObject({ code: "outbox_full" });
});
