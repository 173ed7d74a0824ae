/** A client moves from a draining or killed gateway to another gateway. */
import { expect, test } from "vitest";
import { expectAllEmitted, expectShownEqualsStored } from "./support/history.js";
import { System } from "./support/system.js";
import { sleep, waitUntil } from "./support/until.js";

const system = new System({ gateways: 2, gatewayEnv: { TIDINGS_DRAIN_MS: 4000 } });

/** A user whose attempts go to the gateway `target.number`, and the times of the attempts. */
async function personOnGateway(number: number) {
  const id = system.name("alice");
  const target = { number };
  const attemptTimes: number[] = [];
  const url = () => {
    attemptTimes.push(Date.now());
    return system.stack.gateway(target.number);
  };
  const alice = await system.connected(id, { url });
  return { alice, target, attemptTimes };
}

test("a client stays on a draining gateway until the given delay, then moves without loss", async () => {
  const { alice, target, attemptTimes } = await personOnGateway(0);
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  target.number = 1;
  const connections = attemptTimes.length;
  let talking = true;
  const talk = (async () => {
    for (let i = 1; talking; i++) {
      await system.post(bob, room, `b${i}`);
      alice.client.room(room).send(`a${i}`);
      await sleep(100);
    }
  })();
  const drain = system.stack.drain("gateway", 0);
  await waitUntil("the client shows that the node drains", () => alice.client.connection.get().draining);
  const drainedAt = Date.now();
  expect(alice.state).toBe("connected");
  const draining = alice.frames.find((frame) => frame.type === "draining");
  const delay = draining?.type === "draining" ? draining.reconnect_after_ms : Number.NaN;
  await waitUntil("the client has moved", () => !alice.client.connection.get().draining);
  // Timers of the platform may run some milliseconds early.
  expect((attemptTimes[connections] ?? 0) - drainedAt).toBeGreaterThan(delay - 200);
  expect(alice.states).toEqual(["connecting", "connected"]);
  await drain;
  talking = false;
  await talk;
  await alice.outboxEmpty();
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
  await system.stack.start("gateway", 0);
});

test("a killed gateway loses nothing", async () => {
  const { alice, target } = await personOnGateway(0);
  const bob = await system.connected(system.name("bob"), { gateways: [1] });
  const room = await system.room([alice.id, bob.id]);
  await Promise.all([alice.open(room), bob.open(room)]);
  target.number = 1;
  for (let i = 1; i <= 15; i++) {
    alice.client.room(room).send(`a${i}`);
    bob.client.room(room).send(`b${i}`);
    if (i === 8) void system.stack.kill("gateway", 0);
    await sleep(40);
  }
  await waitUntil("the client detects the failure", () => alice.states.includes("reconnecting"));
  await Promise.all([alice.outboxEmpty(), bob.outboxEmpty()]);
  for (const person of [alice, bob]) {
    await expectShownEqualsStored(system, person, room);
    await expectAllEmitted(system, person, room);
  }
  const textsOfAlice = alice.texts(room).filter((text) => text.startsWith("a"));
  expect(textsOfAlice).toEqual(Array.from({ length: 15 }, (_, i) => `a${i + 1}`));
  await system.stack.start("gateway", 0);
});

test("the client moves with all rooms from a silent node to another", async () => {
  const { alice, target } = await personOnGateway(0);
  const rooms = [await system.room([alice.id]), await system.room([alice.id])];
  await alice.open(...rooms);
  await system.stack.kill("gateway", 0);
  target.number = 1;
  for (const room of rooms) await system.post(alice.id, room, "from elsewhere");
  await waitUntil("the client is back", () => alice.states.length === 4 && alice.state === "connected");
  await alice.waitUntilLive(...rooms);
  for (const room of rooms) await expectAllEmitted(system, alice, room);
  await system.stack.start("gateway", 0);
});
