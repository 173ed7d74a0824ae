/**
 * Users send and change messages at random while parts of the system fail at random. In the end every message
 * is stored once or marked as failed, and all users see what is stored. TIDINGS_SEED selects another run.
 */

import { expect, test } from "vitest";
import { deleteMessage, editMessage, react, unreact } from "../../src/changes.js";
import { typing } from "../../src/live.js";
import type { Stack } from "../stack.js";
import { Device } from "./device.js";
import { expectInOrder, expectShownEqualsStored, history } from "./history.js";
import type { Person } from "./person.js";
import { pick, seededRandom } from "./seeded-random.js";
import { System } from "./system.js";
import { sleep, waitUntil } from "./until.js";

const SEED = Number(process.env.TIDINGS_SEED ?? 20_260_131);
/** A run with fewer faults proves nothing, so a slow machine runs longer until it has this many. */
const MIN_FAULTS = 4;

const GENEROUS_LIMITS = {
  TIDINGS_HEARTBEAT_MS: 1000,
  TIDINGS_MESSAGES_PER_SECOND: 200,
  TIDINGS_MESSAGES_BURST: 200,
  TIDINGS_JOINS_PER_SECOND: 1000,
  TIDINGS_POLLS_PER_SECOND: 1000,
  TIDINGS_ABUSE_PER_MINUTE: 1_000_000,
};
const system = new System({ gateways: 2, persistence: 2, proxied: true, gatewayEnv: GENEROUS_LIMITS });

/** Possible errors of a change that is late or that another change made pointless. */
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
/** The fault that loses messages which are accepted and not stored yet. */
const EMPTIED = "emptied";

/** Runs one fault from its beginning to its end. */
async function runFault(stack: Stack, random: () => number, kinds: readonly string[]): Promise<string> {
  const gateway = Math.floor(random() * 2);
  const persistence = Math.floor(random() * 2);
  const faultTime = () => sleep(100 + random() * 900);
  const kind = pick(random, kinds) as (typeof FAULTS)[number] | typeof EMPTIED;
  switch (kind) {
    case "kill":
    case "drain":
      await stack[kind]("gateway", gateway);
      await faultTime();
      await stack.start("gateway", gateway);
      break;
    case "persistence":
      await stack.kill("persistence", persistence);
      await faultTime();
      await stack.start("persistence", persistence);
      break;
    case "postgres":
    case "redis":
      await stack.pause(kind);
      await faultTime();
      await stack.resume(kind);
      break;
    case EMPTIED:
      await stack.emptyRedis();
      break;
    default:
      if (random() < 0.5) await stack.link("persistence", persistence, kind, 50);
      await stack.link("gateway", gateway, kind, 50);
      await faultTime();
      await system.heal();
  }
  return kind;
}

/** Runs one action of a user. */
async function actAtRandom(
  person: Person,
  room: string,
  random: () => number,
  said: Set<string>,
): Promise<void> {
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
    person.close(room);
    await person.open(room).catch(() => undefined);
  } else {
    person.client.disconnect();
    await person.client.connect();
  }
}

/** Expects that the shown state of the connection matches its socket. */
function expectStateMatchesSocket(person: Person, device: Device): void {
  const { state, transport } = person.client.connection.get();
  if (state === "connected" && transport === "websocket")
    expect(device.openOrClosing).toBeGreaterThanOrEqual(1);
  if (state === "disconnected") expect(device.sockets).toBe(0);
}

const KINDS = [
  ["whatever breaks but Redis' memory, nothing is lost, twice, or out of order", SEED, FAULTS],
  [
    "with Redis emptied now and then, too, nothing is lost or there twice",
    SEED + 1,
    [...FAULTS, EMPTIED, EMPTIED],
  ],
] as const;

/** Defines the tests. In each, users act and parts fail for this many seconds. */
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
        random: seededRandom(seed + number),
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
  const everFailed = people.map(({ client: { outbox } }) => {
    const texts = new Set<string>();
    outbox.subscribe(() => {
      for (const { status, content } of outbox.get()) if (status === "failed") texts.add(content);
    });
    return texts;
  });

  const end = Date.now() + ms;
  const enough = () => Date.now() >= end && faults.length >= MIN_FAULTS;
  const sentTexts = people.map(() => new Map(rooms.map((room) => [room, new Set<string>()])));
  const faults: string[] = [];
  const unexpected: unknown[] = [];
  const pending: Promise<unknown>[] = [];
  const actLoops = people.map(async (person, number) => {
    const random = seededRandom(seed * 31 + number);
    while (!enough()) {
      const room = pick(random, rooms);
      const done = actAtRandom(person, room, random, sentTexts[number]?.get(room) ?? new Set()).catch(
        (error: { code?: string }) => {
          if (!EXPECTED.includes(error.code ?? "")) unexpected.push(error);
        },
      );
      pending.push(done);
      await sleep(random() * 120);
      const device = devices[number];
      if (device) expectStateMatchesSocket(person, device);
    }
  });
  const faultLoop = (async () => {
    const random = seededRandom(seed);
    while (!enough()) {
      faults.push(await runFault(stack, random, kinds));
      await sleep(random() * 400);
    }
  })();
  await Promise.all([...actLoops, faultLoop]);
  await system.heal();

  for (const [number, person] of people.entries()) {
    if (person.state === "disconnected") await person.client.connect();
    await waitUntil(
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
      const sentCount = sentTexts[number]?.get(room)?.size ?? 0;
      const lost = person.client.outbox.get().filter((entry) => entry.room === room).length;
      expect({ faults, stored: mine.length + lost }).toEqual({ faults, stored: sentCount });
      // Unchanged messages have the sent content, and the sent order except for messages that failed and
      // arrived later.
      const order = [...(sentTexts[number]?.get(room) ?? [])];
      const untouched = mine
        .filter(({ edited_at, deleted }) => !edited_at && !deleted)
        .map(({ content }) => content);
      expect([...untouched].sort()).toEqual(order.filter((text) => untouched.includes(text)).sort());
      const prompt = untouched.filter((text) => !everFailed[number]?.has(text));
      if (!faults.includes(EMPTIED)) expect(prompt).toEqual(order.filter((text) => prompt.includes(text)));
      expect(untouched.filter((text) => failed.has(text))).toEqual([]);
    }
  }
  await Promise.all(pending);
  expect(unexpected).toEqual([]);
  for (const [number, person] of people.entries()) {
    for (const room of rooms) {
      await expectShownEqualsStored(system, person, room, 40_000);
      // Events that were lost with Redis were emitted, and other events took their positions.
      if (!faults.includes(EMPTIED)) expectInOrder(person, room);
    }
    const { state, transport } = person.client.connection.get();
    expect([state, transport === "websocket" ? 1 : 0]).toEqual(["connected", devices[number]?.sockets]);
  }
  expect(faults.length).toBeGreaterThanOrEqual(MIN_FAULTS);
}
