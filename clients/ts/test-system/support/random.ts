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

/** The errors that a change may get when it is late, or when another change came first. */
const EXPECTED_CODES = [
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
/** The fault that loses accepted messages that are not stored yet. */
const EMPTY_REDIS = "emptied";

/** Runs one fault from its beginning to its end. */
async function runFault(stack: Stack, random: () => number, kinds: readonly string[]): Promise<string> {
  const gateway = Math.floor(random() * 2);
  const persistence = Math.floor(random() * 2);
  const faultTime = () => sleep(100 + random() * 900);
  const kind = pick(random, kinds) as (typeof FAULTS)[number] | typeof EMPTY_REDIS;
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
    case EMPTY_REDIS:
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
  sentTexts: Set<string>,
): Promise<void> {
  const openedRoom = person.client.room(room);
  const acceptedRows = person.rows(room).filter(({ seq }) => seq !== undefined);
  const { seq = 0 } = acceptedRows.length ? pick(random, acceptedRows.slice(-20)) : {};
  const draw = random();
  if (draw < 0.55 || !seq) {
    const text = `${person.id} ${sentTexts.size} in ${room.slice(-4)}`;
    openedRoom.send(text);
    sentTexts.add(text);
  } else if (draw < 0.65) await editMessage(openedRoom, seq, `edited by ${person.id}`, { by: person.id });
  else if (draw < 0.69) await deleteMessage(openedRoom, seq);
  else if (draw < 0.83) await react(openedRoom, seq, pick(random, ["👍", "🎉", "👀"]));
  else if (draw < 0.88) await unreact(openedRoom, seq, pick(random, ["👍", "🎉", "👀"]));
  else if (draw < 0.92) openedRoom.markRead(seq);
  else if (draw < 0.95) typing(openedRoom).typed();
  else if (draw < 0.97) await openedRoom.loadOlder(20);
  else if (draw < 0.98) openedRoom.trim();
  else if (draw < 0.99) {
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

const RUNS = [
  ["whatever breaks but Redis' memory, nothing is lost, twice, or out of order", SEED, FAULTS],
  [
    "with Redis emptied now and then, too, nothing is lost or there twice",
    SEED + 1,
    [...FAULTS, EMPTY_REDIS, EMPTY_REDIS],
  ],
] as const;

/** Defines the tests. In each, users act and parts fail for this many seconds. */
export function testRandomFaults(seconds: number): void {
  test.each(RUNS)("%s (seed %i)", { timeout: 150_000 + seconds * 1000 }, (_, seed, kinds) =>
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
  const isDone = () => Date.now() >= end && faults.length >= MIN_FAULTS;
  const sentTexts = people.map(() => new Map(rooms.map((room) => [room, new Set<string>()])));
  const faults: string[] = [];
  const unexpected: unknown[] = [];
  const pending: Promise<unknown>[] = [];
  const actLoops = people.map(async (person, number) => {
    const random = seededRandom(seed * 31 + number);
    while (!isDone()) {
      const room = pick(random, rooms);
      const done = actAtRandom(person, room, random, sentTexts[number]?.get(room) ?? new Set()).catch(
        (error: { code?: string }) => {
          if (!EXPECTED_CODES.includes(error.code ?? "")) unexpected.push(error);
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
    while (!isDone()) {
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
      const messageKeys = stored.map(({ client_id, sender }) => `${sender.id} ${client_id}`);
      expect(new Set(messageKeys).size).toBe(messageKeys.length);
      const ownMessages = stored.filter(({ sender }) => sender.id === person.id);
      const sentCount = sentTexts[number]?.get(room)?.size ?? 0;
      const lost = person.client.outbox.get().filter((entry) => entry.room === room).length;
      expect({ faults, stored: ownMessages.length + lost }).toEqual({ faults, stored: sentCount });
      // Unchanged messages have the sent content, and the sent order except for messages that failed and
      // arrived later.
      const sentOrder = [...(sentTexts[number]?.get(room) ?? [])];
      const unchangedTexts = ownMessages
        .filter(({ edited_at, deleted }) => !edited_at && !deleted)
        .map(({ content }) => content);
      expect([...unchangedTexts].sort()).toEqual(
        sentOrder.filter((text) => unchangedTexts.includes(text)).sort(),
      );
      const neverFailedTexts = unchangedTexts.filter((text) => !everFailed[number]?.has(text));
      if (!faults.includes(EMPTY_REDIS))
        expect(neverFailedTexts).toEqual(sentOrder.filter((text) => neverFailedTexts.includes(text)));
      expect(unchangedTexts.filter((text) => failed.has(text))).toEqual([]);
    }
  }
  await Promise.all(pending);
  expect(unexpected).toEqual([]);
  for (const [number, person] of people.entries()) {
    for (const room of rooms) {
      await expectShownEqualsStored(system, person, room, 40_000);
      // Events that were lost with Redis were emitted, and other events took their positions.
      if (!faults.includes(EMPTY_REDIS)) expectInOrder(person, room);
    }
    const { state, transport } = person.client.connection.get();
    expect([state, transport === "websocket" ? 1 : 0]).toEqual(["connected", devices[number]?.sockets]);
  }
  expect(faults.length).toBeGreaterThanOrEqual(MIN_FAULTS);
}
