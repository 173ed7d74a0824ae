/** What is written while nothing can be sent, or in the moment when everything breaks: sent in order, once. */
import { expect, test } from "vitest";
import { memoryStorage } from "../src/storage.js";
import { Device } from "./support/device.js";
import { expectAllTold, expectWhole, history } from "./support/history.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({
  gateways: 2,
  proxied: true,
  gatewayEnv: { TIDINGS_MESSAGES_PER_SECOND: 10_000, TIDINGS_MESSAGES_BURST: 10_000 },
});

const numbered = (count: number, text = "m") => Array.from({ length: count }, (_, i) => `${text}${i + 1}`);
const said = async (user: string, room: string) =>
  (await history(system, user, room)).map((message) => message.content);

test("a message is shown at once, then as sent, then as stored, in one row of one key", async () => {
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
  const made = alice.client.room(room).send("hello");
  expect(made).toMatchObject({ status: "sending", mine: true, stored: false, content: "hello" });
  expect(made.seq).toBeUndefined();
  await alice.emptied();
  expect(alice.rows(room)).toMatchObject([{ key: made.key, status: "sent", stored: true, seq: 1 }]);
  expect(seen[0]).toBe(`${made.key} sending false`);
  expect(seen.at(-1)).toBe(`${made.key} sent true`);
  expect(new Set(seen.map((step) => step.split(" ")[0])).size).toBe(1);
});

test("what is written offline goes out in order after the reconnect, each once", async () => {
  const alice = await system.connected(system.name("alice"));
  const rooms = [await system.room([alice.id]), await system.room([alice.id])];
  await alice.open(...rooms);
  for (const number of [0, 1]) await system.stack.link("gateway", number, "refuse");
  for (const number of [0, 1]) await system.stack.link("gateway", number, "cut");
  await alice.becomes("reconnecting");
  for (const text of numbered(25)) for (const room of rooms) alice.client.room(room).send(text);
  expect(alice.client.outbox.get()).toHaveLength(50);
  for (const room of rooms) expect(alice.texts(room)).toEqual(numbered(25));
  await rest(300);
  for (const number of [0, 1]) await system.stack.link("gateway", number, "heal");
  await alice.emptied();
  for (const room of rooms) {
    expect(await said(alice.id, room)).toEqual(numbered(25));
    await expectWhole(system, alice, room);
    await expectAllTold(system, alice, room);
  }
});

test("what is written before the first connection is sent, too", async () => {
  const alice = system.person(system.name("alice"));
  const room = await system.room([alice.id]);
  for (const text of numbered(5)) alice.client.room(room).send(text);
  const keys = alice.rows(room).map(({ key }) => key);
  await alice.client.connect();
  await alice.open(room);
  await alice.emptied();
  await expectWhole(system, alice, room);
  expect(alice.texts(room)).toEqual(numbered(5));
  expect(alice.rows(room).map(({ key }) => key)).toEqual(keys);
});

test("a gateway killed between send and ack: accepted already, and sent again all the same, once", async () => {
  const number = { now: 0 };
  const alice = await system.connected(system.name("alice"), { url: () => system.stack.gateway(number.now) });
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.pause("postgres");
  for (const text of numbered(5)) alice.client.room(room).send(text);
  // Its own event proves that it was accepted; the ack waits for storage.
  await until("they are accepted", () => alice.rows(room).every(({ seq }) => seq !== undefined));
  expect(alice.client.outbox.get()).toHaveLength(5);
  number.now = 1;
  await system.stack.kill("gateway", 0);
  await system.stack.resume("postgres");
  await alice.emptied();
  expect(await said(alice.id, room)).toEqual(numbered(5));
  await expectWhole(system, alice, room);
  await expectAllTold(system, alice, room);
  await system.stack.start("gateway", 0);
});

test("a gateway killed in the moment of the send: whether it was taken or not, it is there once", async () => {
  const number = { now: 0 };
  const alice = await system.connected(system.name("alice"), { url: () => system.stack.gateway(number.now) });
  const room = await system.room([alice.id]);
  await alice.open(room);
  for (let round = 0; round < 3; round++) {
    const before = number.now;
    for (const text of numbered(4, `r${round}-`)) alice.client.room(room).send(text);
    number.now = 1 - before;
    await rest(round * 3);
    await system.stack.kill("gateway", before);
    await alice.emptied();
    await system.stack.start("gateway", before);
  }
  expect(await said(alice.id, room)).toEqual([0, 1, 2].flatMap((round) => numbered(4, `r${round}-`)));
  await expectWhole(system, alice, room);
});

test("a page that is reloaded with a full outbox sends each message once, in order", async () => {
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
  // Who one is has to be known once, for somebody else may sit here after the reload.
  const known = system.person(id, { storage });
  await known.client.connect();
  known.client.close();
  void offline.client.connect().catch(() => undefined);
  await offline.becomes("reconnecting");
  for (const text of numbered(100)) offline.client.room(room).send(text);
  expect(() => offline.client.room(room).send("one more")).toThrow(
    expect.objectContaining({ code: "outbox_full" }),
  );
  await rest(100);
  before.tell("hide");
  before.die();

  const after = await system.connected(id, { storage });
  await after.open(room);
  await until("it has found them", () => after.rows(room).length === 100);
  await after.emptied();
  expect(await said(id, room)).toEqual(numbered(100));
  await expectWhole(system, after, room);
  expect((await storage.keys?.())?.filter((key) => key.includes("/out/"))).toEqual([]);
});

test("a page that dies while its messages are on their way leaves them to the next one, each once", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = memoryStorage();
  for (let life = 1; life <= 3; life++) {
    const device = new Device();
    const alice = await system.connected(id, { ...device.options, storage });
    for (const text of numbered(10, `l${life}-`)) alice.client.room(room).send(text);
    await rest(20 * life);
    device.tell("hide");
    device.die();
  }
  const last = await system.connected(id, { storage });
  await last.open(room);
  await last.emptied();
  await until("all are stored", async () => (await said(id, room)).length === 30);
  await rest(300);
  expect(await said(id, room)).toEqual([1, 2, 3].flatMap((life) => numbered(10, `l${life}-`)));
  await expectWhole(system, last, room);
});
