/**
 * Twenty users send and change messages while connections are cut, both gateways are killed, and the service that gives
 * tokens fails half of the time. Long because the tokens must expire several times. TIDINGS_SEED selects another run.
 */
import { afterEach, expect, test } from "vitest";
import { editMessage, react } from "../src/changes.js";
import { expectInOrder, expectShownEqualsStored, history } from "./support/history.js";
import type { Person } from "./support/person.js";
import { pick, seededRandom } from "./support/seeded-random.js";
import { System } from "./support/system.js";
import { TokenService } from "./support/token-service.js";
import { sleep } from "./support/until.js";

const SEED = Number(process.env.TIDINGS_SEED ?? 20_260_218);
const PEOPLE = 20;
const SENDS = 100;
/** How long a token is valid, in seconds. A client sends for about 25 s, so it needs several tokens. */
const TOKEN_TTL = 5;
const EMOJIS = ["👍", "🎉", "👀"];
/** The number of faults. Faults 5 and 11 kill a gateway, the others cut connections. */
const FAULTS = 16;
const KILLS = [5, 11];

const system = new System({
  gateways: 2,
  proxied: true,
  gatewayEnv: {
    TIDINGS_HEARTBEAT_MS: 2000,
    TIDINGS_MESSAGES_PER_SECOND: 1000,
    TIDINGS_MESSAGES_BURST: 1000,
    TIDINGS_COMMANDS_PER_SECOND: 1000,
    TIDINGS_JOINS_PER_SECOND: 1000,
    TIDINGS_ABUSE_PER_MINUTE: 1_000_000,
  },
});

let tokens: TokenService | undefined;
afterEach(async () => {
  // The clients must not ask a service that has stopped.
  system.closeClients();
  await tokens?.stop();
});

/** What one user did. */
interface UserLog {
  readonly user: string;
  /** The client ids of the user's messages, in the order of the sends. */
  readonly sent: string[];
  /** The last text that the user gave each message, by client id. */
  readonly texts: Map<string, string>;
  /** The user's reactions, as `SEQ EMOJI USER`. */
  readonly reactions: Set<string>;
  /** One promise for each change. It resolves to undefined, or to the error if the server refused the change. */
  readonly changes: Promise<unknown>[];
}

/** Sends messages, edits own ones and reacts to those of everyone. */
async function act(person: Person, room: string, random: () => number): Promise<UserLog> {
  const log: UserLog = {
    user: person.id,
    sent: [],
    texts: new Map(),
    reactions: new Set(),
    changes: [],
  };
  const openedRoom = person.client.room(room);
  const asResult = (error: unknown) => error;
  for (let number = 1; number <= SENDS; number++) {
    const text = `${person.id} says ${number}`;
    const { clientId } = openedRoom.send(text);
    log.sent.push(clientId);
    log.texts.set(clientId, text);
    const accepted = person.rows(room).filter(({ status }) => status === "sent");
    const own = accepted.filter(({ mine }) => mine);
    if (number % 10 === 0 && own.length > 0) {
      const { seq = 0, clientId: edited } = pick(random, own);
      const newText = `${person.id} edits after ${number}`;
      log.texts.set(edited, newText);
      log.changes.push(editMessage(openedRoom, seq, newText).catch(asResult));
    }
    if (number % 5 === 0 && accepted.length > 0) {
      const { seq = 0 } = pick(random, accepted);
      const emoji = pick(random, EMOJIS);
      const reaction = `${seq} ${emoji} ${person.id}`;
      if (!log.reactions.has(reaction)) log.changes.push(react(openedRoom, seq, emoji).catch(asResult));
      log.reactions.add(reaction);
    }
    await sleep(100 + random() * 300);
  }
  return log;
}

/** Each fault cuts the connections of one gateway and of persistence, or kills the gateway and starts it again. */
async function breakParts(): Promise<void> {
  const { stack } = system;
  for (let fault = 0; fault < FAULTS; fault++) {
    await sleep(1000);
    // The two kills are of different gateways.
    const gateway = fault < FAULTS / 2 ? fault % 2 : (fault + 1) % 2;
    if (KILLS.includes(fault)) {
      await stack.kill("gateway", gateway);
      await sleep(500);
      await stack.start("gateway", gateway);
    } else {
      await stack.link("gateway", gateway, "cut");
      await stack.link("persistence", 0, "cut");
    }
  }
}

test(`nothing is lost or doubled while these parts fail (seed ${SEED})`, { timeout: 400_000 }, async () => {
  const service = await TokenService.start(system.stack, TOKEN_TTL, seededRandom(SEED));
  tokens = service;
  service.failureRate = 0.5;
  const ids = Array.from({ length: PEOPLE }, () => system.name("p"));
  const room = await system.room(ids);
  const people = await Promise.all(
    ids.map((id, number) => {
      const gatewayRandom = seededRandom(SEED - 1 - number);
      return system.connected(id, {
        url: () => system.stack.gateway(pick(gatewayRandom, [0, 1])),
        token: () => service.fetchToken(id),
      });
    }),
  );
  await Promise.all(people.map((person) => person.open(room)));

  const faults = breakParts();
  const logs = await Promise.all(
    people.map((person, number) => act(person, room, seededRandom(SEED + 1 + number))),
  );
  await faults;
  // With fewer failed requests the test would prove little.
  const { answered, refused, unanswered } = service.outcomes;
  process.stdout.write(`tokens: ${answered} answered, ${refused} refused, ${unanswered} unanswered\n`);
  expect(Math.min(refused, unanswered)).toBeGreaterThan(PEOPLE);
  service.failureRate = 0;
  service.ttl = 600;
  await Promise.all(people.map((person) => person.outboxEmpty(120_000)));
  const refusals = await Promise.all(logs.flatMap(({ changes }) => changes));
  expect(refusals.filter((error) => error !== undefined)).toEqual([]);

  const stored = await history(system, ids[0] ?? "", room);
  expect(stored.length).toBe(PEOPLE * SENDS);
  for (const { user, sent, texts } of logs) {
    const own = stored.filter(({ sender }) => sender.id === user);
    expect(own.map(({ client_id }) => client_id)).toEqual(sent);
    expect(own.map(({ content }) => content)).toEqual(sent.map((clientId) => texts.get(clientId)));
  }
  const reactions = stored.flatMap(({ seq, reactions }) =>
    (reactions ?? []).flatMap(({ emoji, users }) => users.map((user) => `${seq} ${emoji} ${user}`)),
  );
  expect(reactions.sort()).toEqual(logs.flatMap((log) => [...log.reactions]).sort());

  for (const person of people) {
    expect(person.tokenRequests).toBeGreaterThan(3);
    expect(person.states).toContain("reconnecting");
    expect(person.states).not.toContain("disconnected");
    await person.waitUntilLive(room);
    const openedRoom = person.client.room(room);
    for (let hasOlder = true; hasOlder; ) hasOlder = await openedRoom.loadOlder(200);
    await expectShownEqualsStored(system, person, room, 60_000);
    expect(person.rows(room).length).toBe(PEOPLE * SENDS);
    expectInOrder(person, room);
  }
});
