/** Applies each kind of fault while other users send. At the end the shown rows equal the stored ones. */
import { expect, test } from "vitest";
import type { LinkFault } from "./stack.js";
import { Device } from "./support/device.js";
import { expectAllEmitted, expectShownEqualsStored, history } from "./support/history.js";
import { pick, seededRandom } from "./support/seeded-random.js";
import { System } from "./support/system.js";
import { sleep, waitUntil } from "./support/until.js";

const system = new System({
  gateways: 2,
  proxied: true,
  gatewayEnv: {
    TIDINGS_HEARTBEAT_MS: 1000,
    TIDINGS_MESSAGES_PER_SECOND: 10_000,
    TIDINGS_MESSAGES_BURST: 10_000,
    TIDINGS_JOINS_PER_SECOND: 1000,
  },
});

/** A user without the kit sends messages until the test stops it. */
function talk(user: string, room: string, pause: number) {
  let isTalking = true;
  let sentCount = 0;
  const done = (async () => {
    while (isTalking) {
      sentCount++;
      await system.post(user, room, `${user} says ${sentCount}`);
      await sleep(pause);
    }
  })();
  return {
    async stop() {
      isTalking = false;
      await done;
      return sentCount;
    },
  };
}

/** Sets a fault on both gateways and on persistence. */
async function setFaults(fault: LinkFault): Promise<void> {
  for (const number of [0, 1]) await system.stack.link("gateway", number, fault);
  await system.stack.link("persistence", 0, fault);
}

for (const fault of ["cut", "reset", "half_open", "black_hole", "refuse"] as const) {
  test(`${fault}, repeatedly, while others talk`, async () => {
    const random = seededRandom(fault.length);
    // The clock is ten times as fast, so that a silence is detected in half a second.
    const alice = await system.connected(system.name("alice"), new Device(10).options);
    const bob = system.name("bob");
    const room = await system.room([alice.id, bob]);
    await alice.open(room);
    const talking = talk(bob, room, 20);
    let mine = 0;
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 3; i++) {
        alice.client.room(room).send(`mine ${++mine}`);
        await sleep(random() * 150);
      }
      await setFaults(fault);
      if (fault === "refuse") await setFaults("cut");
      await sleep(random() * 900);
      await setFaults("heal");
      await sleep(random() * 300);
    }
    await waitUntil("the client detects the failure", () => alice.states.includes("reconnecting"));
    const said = await talking.stop();
    await alice.outboxEmpty();
    await expectShownEqualsStored(system, alice, room);
    await expectAllEmitted(system, alice, room);
    const stored = await history(system, alice.id, room);
    const by = (user: string) =>
      stored.filter(({ sender }) => sender.id === user).map(({ content }) => content);
    expect(by(bob)).toEqual(Array.from({ length: said }, (_, i) => `${bob} says ${i + 1}`));
    expect(by(alice.id)).toEqual(Array.from({ length: mine }, (_, i) => `mine ${i + 1}`));
    expect(alice.client.room(room).state.get().phase).toBe("live");
  });
}

test("slow connections and all faults together, for two people in two rooms", async () => {
  const random = seededRandom(7);
  const people = await Promise.all(
    ["alice", "carol"].map((name) => system.connected(system.name(name), new Device(10).options)),
  );
  const bob = system.name("bob");
  const ids = people.map(({ id }) => id);
  const rooms = [await system.room([...ids, bob]), await system.room([...ids, bob])];
  for (const person of people) await person.open(...rooms);
  const talking = rooms.map((room) => talk(bob, room, 30));
  for (let round = 0; round < 12; round++) {
    const fault = pick(random, ["cut", "reset", "half_open", "black_hole", "refuse", "delay"] as const);
    const number = Math.floor(random() * 2);
    await system.stack.link("gateway", number, fault, 20);
    if (random() < 0.3) await system.stack.link("persistence", 0, fault, 20);
    for (const person of people) person.client.room(pick(random, rooms)).send(`round ${round}`);
    await sleep(random() * 700);
    await system.stack.link("gateway", number, "heal");
    await system.stack.link("persistence", 0, "heal");
  }
  for (const { stop } of talking) await stop();
  for (const person of people) {
    await person.outboxEmpty();
    for (const room of rooms) {
      await expectShownEqualsStored(system, person, room);
      await expectAllEmitted(system, person, room);
    }
  }
});
