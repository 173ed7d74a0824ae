// Slow mode: rooms name it, and a message that it refuses says when it can be sent.
import { expect, test } from "vitest";
import { memoryStorage } from "../src/storage.js";
import { openRoom, World } from "./support/world.js";

const REFUSAL = { type: "error", code: "rate_limited", reason: "slow_mode", retry_after_ms: 20_000 };

test("a room names its slow mode, also after a change", async () => {
  const world = new World();
  world.server.http = (_method, path) => {
    const room = { ...world.server.object("r", "alice"), slow_mode_s: 30 };
    const body = { rooms: [room], next: null, rooms_version: "v1" };
    return path === "/me/rooms" ? { status: 200, body } : undefined;
  };
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const slowModeS = () => client.rooms.get().items[0]?.slowModeS;
  expect(slowModeS()).toBe(30);
  for (const seconds of [0, 5]) {
    world.server.append("r", { type: "room:updated", slow_mode_s: seconds, by: "bob" });
    await world.clock.pass(100);
    expect(slowModeS()).toBe(seconds);
  }
  world.server.rename("r", "tea");
  await world.clock.pass(100);
  expect(slowModeS()).toBe(5);
});

test("a refused message says when it can be sent, until the server has it", async () => {
  const world = new World();
  const { client, room } = await world.opened({ storage: memoryStorage() });
  let slow = true;
  world.server.hook = (frame) => (slow && frame.type === "message:send" ? REFUSAL : undefined);
  room.send("one");
  room.send("two");
  await world.clock.pass(1_000);
  const rows = () => room.messages.get().items.map(({ status, retryAt }) => [status, retryAt]);
  const retryAt = rows()[0]?.[1] as number;
  expect(retryAt - world.clock.now()).toBeGreaterThan(18_000);
  expect(retryAt - world.clock.now()).toBeLessThan(20_000);
  expect(rows()).toEqual([
    ["sending", retryAt],
    ["sending", undefined],
  ]);
  expect(client.outbox.get()[0]?.retryAt).toBe(retryAt);
  slow = false;
  await world.clock.pass(25_000);
  expect(rows()).toEqual([
    ["sent", undefined],
    ["sent", undefined],
  ]);
});

test("a change of slow mode sends refused messages at once", async () => {
  const { world, room } = await openRoom();
  world.server.hook = (frame) => (frame.type === "message:send" ? REFUSAL : undefined);
  room.send("one");
  await world.clock.pass(500);
  world.server.hook = undefined;
  world.server.append("r", { type: "room:updated", slow_mode_s: 0, by: "bob" });
  await world.clock.pass(500);
  expect(room.messages.get().items.map(({ status }) => status)).toEqual(["sent"]);
});
