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
  const asked = () => world.model.seen.filter((frame) => frame.type === "presence:get");
  world.model.seen.length = 0;
  world.model.append("r", { type: "member:added", user: "bob", role: "member", by: "carol" });
  world.model.append("r", { type: "member:added", user: "dora", role: "member", by: "carol" });
  await world.clock.pass(1_500);
  expect(asked().map(({ users }) => users)).toEqual([["bob"]]);
  // Storage lags behind.
  await world.clock.pass(7_000);
  expect(asked().map(({ users }) => users)).toEqual([["bob"], ["bob"], ["bob"]]);
  world.model.presence.set("bob", "online");
  await world.clock.pass(60_000);
  expect(presence(client).of("bob").get()).toEqual({ status: "online", lastSeen: null });
  expect(asked().length).toBe(4);
  client.close();
});
