import { expect, test } from "vitest";
import { deleteMessage, editMessage, react, unreact } from "../src/changes.js";
import { World } from "./support/world.js";

/** An open room of two messages. The first change that is sent is lost. */
async function openRoomLosingFirstChange(world: World) {
  const { client, room } = await world.opened();
  world.server.appendMessage("one", "alice");
  world.server.appendMessage("two", "alice");
  await world.clock.pass(1_000);
  let lost = false;
  world.server.hook = ({ type }) => {
    if (lost || !/^(message:edit|reaction:add)$/.test(`${type}`)) return undefined;
    lost = true;
    return "lose";
  };
  return { client, room };
}

const firstMessage = (room: Awaited<ReturnType<typeof openRoomLosingFirstChange>>["room"]) =>
  room.messages.get().items[0];

test("a repeated earlier edit does not undo a later edit", async () => {
  const world = new World();
  const { room } = await openRoomLosingFirstChange(world);
  const changes = Promise.all([editMessage(room, 1, "first"), editMessage(room, 1, "second")]);
  await world.clock.pass(30_000);
  await changes;
  expect(firstMessage(room)?.content).toBe("second");
});

test("a reaction that is removed at once stays removed, also when its addition was repeated", async () => {
  const world = new World();
  const { room } = await openRoomLosingFirstChange(world);
  const changes = Promise.all([react(room, 1, "👍"), unreact(room, 1, "👍")]);
  await world.clock.pass(30_000);
  await changes;
  expect(firstMessage(room)?.reactions).toEqual([]);
});

test("a change does not wait for changes of other messages or for refused changes", async () => {
  const world = new World();
  const { room } = await openRoomLosingFirstChange(world);
  const first = editMessage(room, 1, "first");
  const other = editMessage(room, 2, "other");
  await world.clock.pass(1_000);
  await other;
  await world.clock.pass(30_000);
  await first;
  world.server.hook = ({ type }) =>
    type === "message:edit" ? { type: "error", code: "forbidden" } : undefined;
  const refused = editMessage(room, 1, "refused").catch(({ code }) => code);
  const deleted = deleteMessage(room, 1);
  await world.clock.pass(1_000);
  expect(await refused).toBe("forbidden");
  await deleted;
  expect(firstMessage(room)?.deleted).toBe(true);
});

test("closing the client rejects all changes that wait for each other", async () => {
  const world = new World();
  const { client, room } = await openRoomLosingFirstChange(world);
  const codes = Promise.all(
    ["first", "second"].map((content) => editMessage(room, 1, content).catch(({ code }) => code)),
  );
  await world.clock.pass(100);
  client.close();
  await world.clock.pass(100);
  expect(await codes).toEqual(["closed", "closed"]);
  client.connect().catch(() => {});
  await world.clock.pass(30_000);
  expect(world.server.seen.filter(({ content }) => content === "second")).toEqual([]);
});

test("an unanswered change is repeated across reconnects, and the next change waits for it", async () => {
  const world = new World();
  const { room } = await openRoomLosingFirstChange(world);
  world.server.hook = ({ type }) => (type === "message:edit" ? "lose" : undefined);
  const edited = editMessage(room, 1, "first");
  const deleted = deleteMessage(room, 1);
  for (let round = 0; round < 8; round++) {
    await world.clock.pass(7_000);
    world.cut();
  }
  expect(world.server.framesOf("message:delete")).toEqual([]);
  world.server.hook = undefined;
  await world.clock.pass(60_000);
  await Promise.all([edited, deleted]);
  expect(world.server.room().log.map(({ type }) => type)).toEqual([
    "message:new",
    "message:new",
    "message:edited",
    "message:deleted",
  ]);
  expect(firstMessage(room)?.deleted).toBe(true);
});
