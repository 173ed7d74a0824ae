import { expect, test } from "vitest";
import { deleteMessage, editMessage, react, unreact } from "../src/changes.js";
import { World } from "./support/world.js";

/** An open room of two messages, of which the first change that is told is lost. */
async function losing(world: World) {
  const client = world.client();
  client.connect().catch(() => {});
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  world.model.say("one", "alice");
  world.model.say("two", "alice");
  await world.clock.pass(1_000);
  let lost = false;
  world.model.hook = ({ type }) => {
    if (lost || !/^(message:edit|reaction:add)$/.test(`${type}`)) return undefined;
    lost = true;
    return "lose";
  };
  return { client, room };
}

const shown = (room: Awaited<ReturnType<typeof losing>>["room"]) => room.messages.get().items[0];

test("a later edit of a message is not undone by an earlier one that has to be repeated", async () => {
  const world = new World();
  const { room } = await losing(world);
  const both = Promise.all([editMessage(room, 1, "first"), editMessage(room, 1, "second")]);
  await world.clock.pass(30_000);
  await both;
  expect(shown(room)?.content).toBe("second");
});

test("a reaction that is taken back at once is not there, also where giving it had to be repeated", async () => {
  const world = new World();
  const { room } = await losing(world);
  const both = Promise.all([react(room, 1, "👍"), unreact(room, 1, "👍")]);
  await world.clock.pass(30_000);
  await both;
  expect(shown(room)?.reactions).toEqual([]);
});

test("a change waits neither for one of another message nor for one that was refused", async () => {
  const world = new World();
  const { room } = await losing(world);
  const first = editMessage(room, 1, "first");
  const other = editMessage(room, 2, "other");
  await world.clock.pass(1_000);
  await other;
  await world.clock.pass(30_000);
  await first;
  world.model.hook = ({ type }) =>
    type === "message:edit" ? { type: "error", code: "forbidden" } : undefined;
  const refused = editMessage(room, 1, "refused").catch(({ code }) => code);
  const deleted = deleteMessage(room, 1);
  await world.clock.pass(1_000);
  expect(await refused).toBe("forbidden");
  await deleted;
  expect(shown(room)?.deleted).toBe(true);
});

test("changes that wait for each other are all given up when the client is closed", async () => {
  const world = new World();
  const { client, room } = await losing(world);
  const codes = Promise.all(
    ["first", "second"].map((content) => editMessage(room, 1, content).catch(({ code }) => code)),
  );
  await world.clock.pass(100);
  client.close();
  await world.clock.pass(100);
  expect(await codes).toEqual(["closed", "closed"]);
  client.connect().catch(() => {});
  await world.clock.pass(30_000);
  expect(world.model.seen.filter(({ content }) => content === "second")).toEqual([]);
});

test("a change that is never answered fails though connections come and go, and the next one goes on", async () => {
  const world = new World();
  const { room } = await losing(world);
  world.model.hook = ({ type }) => (type === "message:edit" ? "lose" : undefined);
  let failed: string | undefined;
  editMessage(room, 1, "first").catch(({ code }) => {
    failed = code;
  });
  const deleted = deleteMessage(room, 1);
  for (let round = 0; round < 8; round++) {
    await world.clock.pass(7_000);
    world.cut();
  }
  expect(failed).toBe("timeout");
  await world.clock.pass(10_000);
  await deleted;
  expect(shown(room)?.deleted).toBe(true);
});
