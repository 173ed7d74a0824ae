// Accepted messages in the outbox do not fail, and a stopped outbox stays stopped.
import { expect, test } from "vitest";
import { memoryStorage } from "../src/storage.js";
import { World } from "./support/world.js";

test("an accepted message does not fail when its repetition is refused", async () => {
  const world = new World();
  const { client, room } = await world.opened();
  world.server.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  room.send("there");
  await world.clock.pass(1_000);
  expect(room.messages.get().items.at(-1)).toMatchObject({ status: "sent", seq: 1 });
  // A gateway checks the role first, so it may refuse to repeat the answer for a message that it has accepted.
  world.server.hook = (frame) =>
    frame.type === "message:send" ? { type: "error", code: "forbidden" } : undefined;
  await world.clock.pass(60_000);
  expect(room.messages.get().items).toMatchObject([{ content: "there", status: "sent", seq: 1 }]);
  expect(client.outbox.get()).toEqual([]);
});

test("lost connections do not add up to the failure of a message", async () => {
  const world = new World();
  const { room } = await world.opened();
  world.server.hook = ({ type }) => (type === "message:send" || type === "ping" ? "lose" : undefined);
  room.send("patient");
  await world.clock.pass(120_000);
  expect(world.attempts).toBeGreaterThan(5);
  expect(room.messages.get().items.at(-1)).toMatchObject({ status: "sending" });
  world.server.hook = undefined;
  await world.clock.pass(60_000);
  expect(world.server.contents()).toEqual(["patient"]);
});

test("a client closed during a storage read stays closed", async () => {
  const world = new World();
  const storage = memoryStorage();
  let releaseRead = () => {};
  const readAllowed = new Promise<void>((resolve) => {
    releaseRead = resolve;
  });
  const slowStorage = {
    ...storage,
    async getItem(key: string) {
      await readAllowed;
      return storage.getItem(key);
    },
  };
  world.down = true;
  const before = world.client({ storage });
  before.room("r").send("left");
  await world.clock.pass(100);
  before.close();
  const client = await world.connected({ storage: slowStorage }, 10);
  client.close();
  releaseRead();
  await world.clock.pass(60_000);
  expect((await storage.keys?.())?.filter((key) => key.includes("/tab/"))).toEqual([]);
  expect(client.outbox.get()).toEqual([]);
  world.down = false;
  await world.opened().then(({ client }) => client.close());
  const next = await world.connected({ storage }, 60_000);
  next.outbox.retryAll();
  await world.clock.pass(5_000);
  expect(world.server.contents()).toEqual(["left"]);
});
