import { expect, test } from "vitest";
import { presence } from "../src/live.js";
import { World } from "./support/world.js";

test("presence of a watched new member is requested until storage knows the membership", async () => {
  const world = new World();
  const client = world.client();
  client.connect().catch(() => {});
  client.room("r").open();
  presence(client).watch(["bob"]);
  await world.clock.pass(3_000);
  const presenceRequests = () => world.server.seen.filter((frame) => frame.type === "presence:get");
  world.server.seen.length = 0;
  world.server.append("r", { type: "member:added", user: "bob", role: "member", by: "carol" });
  world.server.append("r", { type: "member:added", user: "dora", role: "member", by: "carol" });
  await world.clock.pass(1_500);
  expect(presenceRequests().map(({ users }) => users)).toEqual([["bob"]]);
  // The database does not have the membership yet.
  await world.clock.pass(7_000);
  expect(presenceRequests().map(({ users }) => users)).toEqual([["bob"], ["bob"], ["bob"]]);
  world.server.presence.set("bob", "online");
  await world.clock.pass(60_000);
  expect(presence(client).of("bob").get()).toEqual({ status: "online", lastSeen: null });
  expect(presenceRequests().length).toBe(4);
  client.close();
});

test("presence that an answer leaves out is requested again", async () => {
  const world = new World();
  const client = world.client();
  client.connect().catch(() => {});
  world.server.hook = (frame) =>
    frame.type === "presence:get" ? { type: "presence:list", users: [] } : undefined;
  presence(client).watch(["bob"]);
  await world.clock.pass(4_000);
  expect(world.server.seen.filter((frame) => frame.type === "presence:get").length).toBeGreaterThan(1);
  expect(presence(client).of("bob").get()).toBeUndefined();
  world.server.hook = undefined;
  world.server.presence.set("bob", "online");
  await world.clock.pass(60_000);
  expect(presence(client).of("bob").get()).toEqual({ status: "online", lastSeen: null });
  client.close();
});
