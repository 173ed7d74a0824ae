// Changes of members and of the room: pages of messages carry them, so the kit needs no other request for them.
import { expect, test } from "vitest";
import { World } from "./support/world.js";

const joined = (user: string) => ({ type: "member:added", user, role: "member", by: user });

/** A room in which two users join before each of `count` messages, which have the seqs 3, 6, 9 …. */
async function openRoom(count: number, windowSize = 200) {
  const world = new World();
  for (let number = 1; number <= count; number++) {
    for (const user of ["x", "y"]) world.server.append("r", joined(`${user}${number}`));
    world.server.appendMessage(`m${number}`);
  }
  const client = world.client({ windowSize });
  const room = client.room("r");
  room.open();
  await Promise.all([client.connect(), world.clock.pass(3_000)]);
  const seqs = () => room.messages.get().systemEvents.map(({ seq }) => seq);
  return { world, room, seqs };
}

test("pages of messages have the joins among them, each once, without another request", async () => {
  const { world, room, seqs } = await openRoom(100);
  expect(seqs()[0]).toBe(154);
  await Promise.all([room.loadOlder(20), world.clock.pass(1_000)]);
  await Promise.all([room.loadOlder(100), world.clock.pass(1_000)]);
  expect(seqs()).toEqual(Array.from({ length: 300 }, (_, at) => at + 1).filter((seq) => seq % 3));
  expect(world.server.requests.filter((request) => request.includes("/events"))).toEqual([]);
});

test("live joins are added, void ones are removed, and those before the window are dropped", async () => {
  const { world, room, seqs } = await openRoom(2, 2);
  expect(seqs()).toEqual([1, 2, 4, 5]);
  world.server.append("r", joined("z"));
  world.server.append("r", { type: "room:updated", name: "Larder", by: "bob" });
  await world.clock.pass(100);
  expect(seqs()).toEqual([1, 2, 4, 5, 7, 8]);
  world.server.append("r", {
    type: "message:void",
    target: 7,
    client_id: "c",
    by: "z",
    reason: "rejected",
  });
  world.server.appendMessage("m3");
  await world.clock.pass(100);
  expect(room.messages.get().items.map(({ seq }) => seq)).toEqual([6, 10]);
  expect(seqs()).toEqual([8]);
});

test("joins of a room without messages are bounded", async () => {
  const { world, seqs } = await openRoom(0);
  for (let number = 1; number <= 1_100; number++) world.server.append("r", joined(`u${number}`));
  await world.clock.pass(3_000);
  expect(seqs()).toHaveLength(1_000);
  expect(seqs().at(-1)).toBe(1_100);
});
