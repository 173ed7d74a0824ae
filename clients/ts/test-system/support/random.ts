/**
 * People who say and change whatever comes to their minds, in a system whose parts break by chance. In the end
 * every message is stored once or marked as failed, and everybody is shown what is stored. TIDINGS_SEED draws another run.
 */

import { expect, test } from "vitest";
import { deleteMessage, editMessage, react, unreact } from "../../src/changes.js";
import { typing } from "../../src/live.js";
import type { Stack } from "../stack.js";
import { chance, pick } from "./chance.js";
import { Device } from "./device.js";
import { expectInOrder, expectWhole, history } from "./history.js";
import type { Person } from "./person.js";
import { System } from "./system.js";
import { rest, until } from "./until.js";

const SEED = Number(process.env.TIDINGS_SEED ?? 20_260_131);
/** A run with fewer faults proves nothing, so a slow machine runs longer until it has this many. */
const MIN_FAULTS = 4;

const plenty = {
  TIDINGS_HEARTBEAT_MS: 1000,
  TIDINGS_MESSAGES_PER_SECOND: 200,
  TIDINGS_MESSAGES_BURST: 200,
  TIDINGS_JOINS_PER_SECOND: 1000,
  TIDINGS_POLLS_PER_SECOND: 1000,
  TIDINGS_ABUSE_PER_MINUTE: 1_000_000,
};
const system = new System({ gateways: 2, persistence: 2, proxied: true, gatewayEnv: plenty });

/** What may be answered to a change that somebody else made pointless, or that came too late. */
const EXPECTED = [
  "not_found",
  "conflict",
  "forbidden",
  "timeout",
  "internal",
  "disconnected",
  "closed",
  "rate_limited",
  "network",
];

const FAULTS = [
  "cut",
  "reset",
  "half_open",
  "black_hole",
  "refuse",
  "delay",
  "kill",
  "drain",
  "persistence",
  "postgres",
  "redis",
] as const;
/** Takes with it what was accepted and not stored yet. */
const LOST = "emptied";

/** One fault, from its beginning to its end. */
async function fault(stack: Stack, random: () => number, kinds: readonly string[]): Promise<string> {
  const gateway = Math.floor(random() * 2);
  const persistence = Math.floor(random() * 2);
  const while_ = () => rest(100 + random() * 900);
  const what = pick(random, kinds) as (typeof FAULTS)[number] | typeof LOST;
  switch (what) {
    case "kill":
    case "drain":
      await stack[what]("gateway", gateway);
      await while_();
      await stack.start("gateway", gateway);
      break;
    case "persistence":
      await stack.kill("persistence", persistence);
      await while_();
      await stack.start("persistence", persistence);
      break;
    case "postgres":
    case "redis":
      await stack.pause(what);
      await while_();
      await stack.resume(what);
      break;
    case LOST:
      await stack.emptyRedis();
      break;
    default:
      if (random() < 0.5) await stack.link("persistence", persistence, what, 50);
      await stack.link("gateway", gateway, what, 50);
      await while_();
      await system.heal();
  }
  return what;
}

/** One thing that somebody does. */
async function act(person: Person, room: string, random: () => number, said: Set<string>): Promise<void> {
  const opened = person.client.room(room);
  const placed = person.rows(room).filter(({ seq }) => seq !== undefined);
  const { seq = 0 } = placed.length ? pick(random, placed.slice(-20)) : {};
  const dice = random();
  if (dice < 0.55 || !seq) {
    const text = `${person.id} ${said.size} in ${room.slice(-4)}`;
    opened.send(text);
    said.add(text);
  } else if (dice < 0.65) await editMessage(opened, seq, `edited by ${person.id}`, { by: person.id });
  else if (dice < 0.69) await deleteMessage(opened, seq);
  else if (dice < 0.83) await react(opened, seq, pick(random, ["👍", "🎉", "👀"]));
  else if (dice < 0.88) await unreact(opened, seq, pick(random, ["👍", "🎉", "👀"]));
  else if (dice < 0.92) opened.markRead(seq);
  else if (dice < 0.95) typing(opened).typed();
  else if (dice < 0.97) await opened.loadOlder(20);
  else if (dice < 0.98) opened.trim();
  else if (dice < 0.99) {
    person.leave(room);
    await person.open(room).catch(() => undefined);
  } else {
    person.client.disconnect();
    await person.client.connect();
  }
}

/** What is shown of the connection is how its socket stands. */
function expectShown(person: Person, device: Device): void {
  const { state, transport } = person.client.connection.get();
  if (state === "connected" && transport === "websocket") expect(device.standing).toBeGreaterThanOrEqual(1);
  if (state === "disconnected") expect(device.sockets).toBe(0);
}

const KINDS = [
  ["whatever breaks but Redis' memory, nothing is lost, twice, or out of order", SEED, FAULTS],
  ["with Redis emptied now and then, too, nothing is lost or there twice", SEED + 1, [...FAULTS, LOST, LOST]],
] as const;

/** Defines the tests; people talk and parts break for this many seconds in each. */
export function testRandomFaults(seconds: number): void {
  test.each(KINDS)("%s (seed %i)", { timeout: 150_000 + seconds * 1000 }, (_, seed, kinds) =>
    randomFaults(seed, kinds, seconds * 1000),
  );
}

async function randomFaults(seed: number, kinds: readonly string[], ms: number): Promise<void> {
  const { stack } = system;
  const devices = Array.from({ length: 4 }, (_, number) => new Device(number === 3 ? 1 : 10));
  const people = await Promise.all(
    devices.map((device, number) =>
      system.connected(system.name("p"), {
        ...device.options,
        random: chance(seed + number),
        httpUrl: () => stack.http(number % 2),
        ...(number === 3 && { transport: "poll" }),
      }),
    ),
  );
  const rooms = [
    await system.room(people.map(({ id }) => id)),
    await system.room(people.map(({ id }) => id)),
  ];
  for (const person of people) await person.open(...rooms);
  const givenUp = people.map(({ client: { outbox } }) => {
    const texts = new Set<string>();
    outbox.subscribe(() => {
      for (const { status, content } of outbox.get()) if (status === "failed") texts.add(content);
    });
    return texts;
  });

  const end = Date.now() + ms;
  const enough = () => Date.now() >= end && faults.length >= MIN_FAULTS;
  const said = people.map(() => new Map(rooms.map((room) => [room, new Set<string>()])));
  const faults: string[] = [];
  const unexpected: unknown[] = [];
  const pending: Promise<unknown>[] = [];
  const talking = people.map(async (person, number) => {
    const random = chance(seed * 31 + number);
    while (!enough()) {
      const room = pick(random, rooms);
      const done = act(person, room, random, said[number]?.get(room) ?? new Set()).catch(
        (error: { code?: string }) => {
          if (!EXPECTED.includes(error.code ?? "")) unexpected.push(error);
        },
      );
      pending.push(done);
      await rest(random() * 120);
      const device = devices[number];
      if (device) expectShown(person, device);
    }
  });
  const breaking = (async () => {
    const random = chance(seed);
    while (!enough()) {
      faults.push(await fault(stack, random, kinds));
      await rest(random() * 400);
    }
  })();
  await Promise.all([...talking, breaking]);
  await system.heal();

  for (const [number, person] of people.entries()) {
    if (person.state === "disconnected") await person.client.connect();
    await until(
      `all of ${person.id} is stored or has failed, after ${faults}`,
      () => expect(person.client.outbox.get().filter(({ status }) => status !== "failed")).toEqual([]),
      40_000,
    );
    const failed = new Set(person.client.outbox.get().map(({ content }) => content));
    for (const room of rooms) {
      const stored = await history(system, person.id, room);
      const ids = stored.map(({ client_id, sender }) => `${sender.id} ${client_id}`);
      expect(new Set(ids).size).toBe(ids.length);
      const mine = stored.filter(({ sender }) => sender.id === person.id);
      const told = said[number]?.get(room)?.size ?? 0;
      const lost = person.client.outbox.get().filter((entry) => entry.room === room).length;
      expect({ faults, stored: mine.length + lost }).toEqual({ faults, stored: told });
      // What nobody edited or deleted says what was sent. In order, but for what was given up for a while, and came late.
      const order = [...(said[number]?.get(room) ?? [])];
      const untouched = mine
        .filter(({ edited_at, deleted }) => !edited_at && !deleted)
        .map(({ content }) => content);
      expect([...untouched].sort()).toEqual(order.filter((text) => untouched.includes(text)).sort());
      const prompt = untouched.filter((text) => !givenUp[number]?.has(text));
      if (!faults.includes(LOST)) expect(prompt).toEqual(order.filter((text) => prompt.includes(text)));
      expect(untouched.filter((text) => failed.has(text))).toEqual([]);
    }
  }
  await Promise.all(pending);
  expect(unexpected).toEqual([]);
  for (const [number, person] of people.entries()) {
    for (const room of rooms) {
      await expectWhole(system, person, room, 40_000);
      // What was lost with Redis was told, and its positions are taken by others.
      if (!faults.includes(LOST)) expectInOrder(person, room);
    }
    const { state, transport } = person.client.connection.get();
    expect([state, transport === "websocket" ? 1 : 0]).toEqual(["connected", devices[number]?.sockets]);
  }
  expect(faults.length).toBeGreaterThanOrEqual(MIN_FAULTS);
}
