/** Messages written offline or during a failure are sent in order, once. */
import { expect, test } from "vitest";
import { memoryStorage } from "../src/storage.js";
import { Device } from "./support/device.js";
import { waitUntilPersisted } from "./support/entries.js";
import { expectAllEmitted, expectShownEqualsStored, history } from "./support/history.js";
import { System } from "./support/system.js";
import { quietPeriod, sleep, waitUntil } from "./support/until.js";

const system = new System({
  gateways: 2,
  proxied: true,
  gatewayEnv: { TIDINGS_MESSAGES_PER_SECOND: 10_000, TIDINGS_MESSAGES_BURST: 10_000 },
});

const numberedTexts = (count: number, text = "m") =>
  Array.from({ length: count }, (_, i) => `${text}${i + 1}`);
const storedTexts = async (user: string, room: string) =>
  (await history(system, user, room)).map((message) => message.content);

test("a message is shown as sending, sent and stored in one row with one key", async () => {
  const alice = await system.connected(system.name("alice"));
  const room = await system.room([alice.id]);
  await alice.open(room);
  const { messages } = alice.client.room(room);
  const seen: string[] = [];
  messages.subscribe(() => {
    for (const { key, status, stored } of messages.get().items) {
      const step = `${key} ${status} ${stored}`;
      if (seen.at(-1) !== step) seen.push(step);
    }
  });
  const sent = alice.client.room(room).send("hello");
  expect(sent).toMatchObject({ status: "sending", mine: true, stored: false, content: "hello" });
  expect(sent.seq).toBeUndefined();
  await alice.outboxEmpty();
  expect(alice.rows(room)).toMatchObject([{ key: sent.key, status: "sent", stored: true, seq: 1 }]);
  expect(seen[0]).toBe(`${sent.key} sending false`);
  expect(seen.at(-1)).toBe(`${sent.key} sent true`);
  expect(new Set(seen.map((step) => step.split(" ")[0])).size).toBe(1);
});

test("messages written offline are sent in order after the reconnect, each once", async () => {
  const alice = await system.connected(system.name("alice"));
  const rooms = [await system.room([alice.id]), await system.room([alice.id])];
  await alice.open(...rooms);
  for (const number of [0, 1]) await system.stack.link("gateway", number, "refuse");
  for (const number of [0, 1]) await system.stack.link("gateway", number, "cut");
  await alice.waitForState("reconnecting");
  for (const text of numberedTexts(25)) for (const room of rooms) alice.client.room(room).send(text);
  expect(alice.client.outbox.get()).toHaveLength(50);
  for (const room of rooms) expect(alice.texts(room)).toEqual(numberedTexts(25));
  await waitUntil("two attempts have failed", () => alice.client.connection.get().attempt >= 2);
  for (const number of [0, 1]) await system.stack.link("gateway", number, "heal");
  await alice.outboxEmpty();
  for (const room of rooms) {
    expect(await storedTexts(alice.id, room)).toEqual(numberedTexts(25));
    await expectShownEqualsStored(system, alice, room);
    await expectAllEmitted(system, alice, room);
  }
});

test("messages written before the first connection are sent", async () => {
  const alice = system.person(system.name("alice"));
  const room = await system.room([alice.id]);
  for (const text of numberedTexts(5)) alice.client.room(room).send(text);
  const keys = alice.rows(room).map(({ key }) => key);
  await alice.client.connect();
  await alice.open(room);
  await alice.outboxEmpty();
  await expectShownEqualsStored(system, alice, room);
  expect(alice.texts(room)).toEqual(numberedTexts(5));
  expect(alice.rows(room).map(({ key }) => key)).toEqual(keys);
});

test("a gateway killed between accept and ack: the repeated message is stored once", async () => {
  const number = { now: 0 };
  const alice = await system.connected(system.name("alice"), { url: () => system.stack.gateway(number.now) });
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.pause("postgres");
  for (const text of numberedTexts(5)) alice.client.room(room).send(text);
  // The event of the message proves that it is accepted. The ack comes only after it is stored.
  await waitUntil("the messages are accepted", () => alice.rows(room).every(({ seq }) => seq !== undefined));
  expect(alice.client.outbox.get()).toHaveLength(5);
  number.now = 1;
  await system.stack.kill("gateway", 0);
  await system.stack.resume("postgres");
  await alice.outboxEmpty();
  expect(await storedTexts(alice.id, room)).toEqual(numberedTexts(5));
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
  await system.stack.start("gateway", 0);
});

test("a gateway killed during a send: the message is stored once", async () => {
  const number = { now: 0 };
  const alice = await system.connected(system.name("alice"), { url: () => system.stack.gateway(number.now) });
  const room = await system.room([alice.id]);
  await alice.open(room);
  for (let round = 0; round < 3; round++) {
    const before = number.now;
    for (const text of numberedTexts(4, `r${round}-`)) alice.client.room(room).send(text);
    number.now = 1 - before;
    await sleep(round * 3);
    await system.stack.kill("gateway", before);
    await alice.outboxEmpty();
    await system.stack.start("gateway", before);
  }
  expect(await storedTexts(alice.id, room)).toEqual(
    [0, 1, 2].flatMap((round) => numberedTexts(4, `r${round}-`)),
  );
  await expectShownEqualsStored(system, alice, room);
});

test("a page reloaded with a full outbox sends each message once in order", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = memoryStorage();
  const before = new Device();
  const offline = system.person(id, {
    ...before.options,
    storage,
    url: "http://127.0.0.1:1",
    outboxLimit: 100,
  });
  // The kit must have connected once to know the user id, because another user may sign in after the reload.
  const earlierSession = system.person(id, { storage });
  await earlierSession.client.connect();
  earlierSession.client.close();
  void offline.client.connect().catch(() => undefined);
  await offline.waitForState("reconnecting");
  for (const text of numberedTexts(100)) offline.client.room(room).send(text);
  expect(() => offline.client.room(room).send("one more")).toThrow(
    expect.objectContaining({ code: "outbox_full" }),
  );
  await waitUntilPersisted(storage, 100);
  before.emit("hide");
  before.crash();

  const after = await system.connected(id, { storage });
  await after.open(room);
  await waitUntil("the new page has adopted the entries", () => after.rows(room).length === 100);
  await after.outboxEmpty();
  expect(await storedTexts(id, room)).toEqual(numberedTexts(100));
  await expectShownEqualsStored(system, after, room);
  await waitUntilPersisted(storage, 0);
});

test("the next page sends the messages of a crashed page, each once", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = memoryStorage();
  for (let pageNumber = 1; pageNumber <= 3; pageNumber++) {
    const device = new Device();
    const alice = await system.connected(id, { ...device.options, storage });
    for (const text of numberedTexts(10, `l${pageNumber}-`)) alice.client.room(room).send(text);
    await sleep(20 * pageNumber);
    device.emit("hide");
    device.crash();
  }
  const last = await system.connected(id, { storage });
  await last.open(room);
  await last.outboxEmpty();
  await waitUntil("all messages are stored", async () => (await storedTexts(id, room)).length === 30);
  await quietPeriod();
  expect(await storedTexts(id, room)).toEqual(
    [1, 2, 3].flatMap((pageNumber) => numberedTexts(10, `l${pageNumber}-`)),
  );
  await expectShownEqualsStored(system, last, room);
});
