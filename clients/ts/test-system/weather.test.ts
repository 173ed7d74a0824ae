/** Lines that break in every way while others talk: what is shown in the end is what is stored, each once. */
import { expect, test } from "vitest";
import type { Weather } from "./stack.js";
import { chance, pick } from "./support/chance.js";
import { Device } from "./support/device.js";
import { expectAllTold, expectWhole, history } from "./support/history.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

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

/** Somebody talks without the kit until told to stop. */
function talk(user: string, room: string, pause: number) {
  let on = true;
  let said = 0;
  const done = (async () => {
    while (on) {
      said++;
      await system.post(user, room, `${user} says ${said}`);
      await rest(pause);
    }
  })();
  return {
    async stop() {
      on = false;
      await done;
      return said;
    },
  };
}

/** Makes weather on both gateways and on the way to persistence. */
async function weather(what: Weather): Promise<void> {
  for (const number of [0, 1]) await system.stack.link("gateway", number, what);
  await system.stack.link("persistence", 0, what);
}

for (const what of ["cut", "reset", "half_open", "black_hole", "refuse"] as const) {
  test(`${what}, again and again, while others talk`, async () => {
    const random = chance(what.length);
    // Ten times as fast, so that a silence is found out in half a second.
    const alice = await system.connected(system.name("alice"), new Device(10).options);
    const bob = system.name("bob");
    const room = await system.room([alice.id, bob]);
    await alice.open(room);
    const talking = talk(bob, room, 20);
    let mine = 0;
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 3; i++) {
        alice.client.room(room).send(`mine ${++mine}`);
        await rest(random() * 150);
      }
      await weather(what);
      if (what === "refuse") await weather("cut");
      await rest(random() * 900);
      await weather("heal");
      await rest(random() * 300);
    }
    await until("it was noticed", () => alice.states.includes("reconnecting"));
    const said = await talking.stop();
    await alice.emptied();
    await expectWhole(system, alice, room);
    await expectAllTold(system, alice, room);
    const stored = await history(system, alice.id, room);
    const by = (user: string) =>
      stored.filter(({ sender }) => sender.id === user).map(({ content }) => content);
    expect(by(bob)).toEqual(Array.from({ length: said }, (_, i) => `${bob} says ${i + 1}`));
    expect(by(alice.id)).toEqual(Array.from({ length: mine }, (_, i) => `mine ${i + 1}`));
    expect(alice.client.room(room).state.get().phase).toBe("live");
  });
}

test("slow lines, and all of it in a heap, to two people in two rooms", async () => {
  const random = chance(7);
  const people = await Promise.all(
    ["alice", "carol"].map((name) => system.connected(system.name(name), new Device(10).options)),
  );
  const bob = system.name("bob");
  const ids = people.map(({ id }) => id);
  const rooms = [await system.room([...ids, bob]), await system.room([...ids, bob])];
  for (const person of people) await person.open(...rooms);
  const talking = rooms.map((room) => talk(bob, room, 30));
  for (let round = 0; round < 12; round++) {
    const what = pick(random, ["cut", "reset", "half_open", "black_hole", "refuse", "delay"] as const);
    const number = Math.floor(random() * 2);
    await system.stack.link("gateway", number, what, 20);
    if (random() < 0.3) await system.stack.link("persistence", 0, what, 20);
    for (const person of people) person.client.room(pick(random, rooms)).send(`round ${round}`);
    await rest(random() * 700);
    await system.stack.link("gateway", number, "heal");
    await system.stack.link("persistence", 0, "heal");
  }
  for (const { stop } of talking) await stop();
  for (const person of people) {
    await person.emptied();
    for (const room of rooms) {
      await expectWhole(system, person, room);
      await expectAllTold(system, person, room);
    }
  }
});
