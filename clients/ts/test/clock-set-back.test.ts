// A clock that is set back during a pause.
import { expect, test } from "vitest";
import { World } from "./support/world.js";

/** A client that reconnects, and whose clock was set back by an hour during the pause. */
async function clientWithClockSetBack(world: World, code?: number) {
  const client = await world.connected({}, 2_000);
  world.down = true;
  world.cut(code);
  await world.clock.pass(100);
  expect(client.connection.get().state).toBe("reconnecting");
  world.clock.jump(-3_600_000);
  world.down = false;
  client.retryNow();
  return client;
}

test("retryNow works after the clock was set back", async () => {
  const world = new World();
  const client = await clientWithClockSetBack(world);
  await world.clock.pass(100);
  expect(client.connection.get().state).toBe("connected");
});

test("a clock that is set back does not extend the server's delay", async () => {
  const world = new World();
  const client = await clientWithClockSetBack(world, 4429);
  await world.clock.pass(20_000);
  expect(client.connection.get().state).toBe("reconnecting");
  await world.clock.pass(11_000);
  expect(client.connection.get().state).toBe("connected");
});
