/** Refusals: temporary ones are retried, permanent ones fail at once, and failed messages can be retried. */
import { expect, test } from "vitest";
import { Device } from "./support/device.js";
import { expectShownEqualsStored, history } from "./support/history.js";
import { System } from "./support/system.js";
import { waitUntil } from "./support/until.js";

// A backlog so short that a few messages fill it.
const SHORT_BACKLOG = { TIDINGS_MAX_BACKLOG_RECORDS: 10 };
const system = new System({
  proxied: true,
  gatewayEnv: { ...SHORT_BACKLOG, TIDINGS_MESSAGES_PER_SECOND: 20 },
  persistenceEnv: SHORT_BACKLOG,
});

test("messages are accepted while storage is down and stored when it returns", async () => {
  const device = new Device(10);
  const alice = await system.connected(system.name("alice"), device.options);
  const room = await system.room([alice.id]);
  await alice.open(room);
  let sends = 0;
  device.dropsFrame = (text) => {
    if (text.includes('"m1"')) sends++;
    return false;
  };
  await system.stack.pause("postgres");
  for (let i = 1; i <= 5; i++) alice.client.room(room).send(`m${i}`);
  await waitUntil(
    "the messages are accepted",
    () => alice.rows(room).filter(({ seq }) => seq !== undefined).length === 5,
  );
  // A message that is not accepted fails when its fourth try is not answered within 5 s.
  await waitUntil("the first message was sent four times", () => sends === 4);
  await device.wait(6000);
  expect(alice.rows(room).map(({ status, stored }) => [status, stored])).toEqual(
    Array(5).fill(["sent", false]),
  );
  await system.stack.resume("postgres");
  await alice.outboxEmpty();
  expect(alice.rows(room).every(({ stored }) => stored)).toBe(true);
  await expectShownEqualsStored(system, alice, room);
});

test("a full backlog while storage is down delays messages and loses none", async () => {
  const alice = await system.connected(system.name("alice"));
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.pause("postgres");
  const texts = Array.from({ length: 15 }, (_, i) => `m${i + 1}`);
  for (const text of texts) alice.client.room(room).send(text);
  await waitUntil("the server has refused a frame", () =>
    alice.frames.some((frame) => frame.type === "error" && frame.code === "overloaded"),
  );
  expect(alice.rows(room).map(({ status }) => status)).not.toContain("failed");
  await system.stack.resume("postgres");
  await alice.outboxEmpty(30_000);
  expect((await history(system, alice.id, room)).map(({ content }) => content)).toEqual(texts);
  await expectShownEqualsStored(system, alice, room);
});

test("sixty messages above the rate limit arrive once and in order", async () => {
  const alice = await system.connected(system.name("alice"));
  const room = await system.room([alice.id]);
  // Each room has another owner, because the limit also holds for a user who creates rooms.
  const others = await Promise.all(
    Array.from({ length: 40 }, () => system.room([system.name("owner"), alice.id])),
  );
  await alice.open(room);
  const texts = Array.from({ length: 60 }, (_, i) => `m${i + 1}`);
  // The messages of one room wait for each other, which keeps them below the limit on a slow machine. The messages of
  // different rooms do not wait, so forty of them at once exceed the burst of twenty on any machine.
  for (const other of others) alice.client.room(other).send("hello");
  for (const text of texts) alice.client.room(room).send(text);
  await alice.outboxEmpty(40_000);
  expect(alice.frames.some((frame) => frame.type === "error" && frame.code === "rate_limited")).toBe(true);
  expect((await history(system, alice.id, room)).map(({ content }) => content)).toEqual(texts);
  for (const other of others) {
    expect((await history(system, alice.id, other)).map(({ content }) => content)).toEqual(["hello"]);
  }
  await expectShownEqualsStored(system, alice, room);
});

test("sends wait while Redis is down and are sent when it returns", async () => {
  const alice = await system.connected(system.name("alice"));
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.kill("redis");
  for (let i = 1; i <= 3; i++) alice.client.room(room).send(`m${i}`);
  await waitUntil("the server has refused a frame", () =>
    alice.frames.some((frame) => frame.type === "error" && frame.code === "unavailable"),
  );
  expect(alice.rows(room).map(({ status }) => status)).toEqual(["sending", "sending", "sending"]);
  await system.stack.start("redis");
  await alice.outboxEmpty(40_000);
  expect((await history(system, alice.id, room)).map(({ content }) => content)).toEqual(["m1", "m2", "m3"]);
  await expectShownEqualsStored(system, alice, room);
});

test("a permanent refusal fails at once with its reason and blocks no later message", async () => {
  const alice = await system.connected(system.name("alice"));
  const [room, archived] = [await system.room([alice.id]), await system.room([alice.id])];
  const foreign = await system.room([system.name("bob")]);
  await alice.open(room, archived);
  await system.http(alice.id, "PATCH", `/rooms/${archived}`, { archived: true });
  const began = Date.now();
  const long = alice.client.room(room).send("x".repeat(1001));
  const toArchived = alice.client.room(archived).send("anybody?");
  const notMember = alice.client.room(foreign).send("let me in");
  await alice.send(room, "next");
  const entryOf = (clientId: string) =>
    alice.client.outbox.get().find((entry) => entry.clientId === clientId);
  await waitUntil("all messages have failed", () =>
    [long, toArchived, notMember].every(({ clientId }) => entryOf(clientId)?.status === "failed"),
  );
  expect(Date.now() - began).toBeLessThan(4000);
  expect(entryOf(long.clientId)?.error?.code).toBe("too_large");
  expect(entryOf(toArchived.clientId)?.error?.code).toBe("conflict");
  expect(entryOf(notMember.clientId)?.error?.code).toBe("not_found");
  expect(alice.rows(archived)).toMatchObject([{ status: "failed", error: { code: "conflict" } }]);

  // A retried message can be accepted. A discarded message does not come back.
  await system.http(alice.id, "PATCH", `/rooms/${archived}`, { archived: false });
  await waitUntil("the room is no longer archived", () => alice.listed(archived)?.archived === false);
  alice.client.outbox.retry(toArchived.clientId);
  await alice.waitUntilSent(archived, toArchived.clientId);
  alice.client.outbox.discard(long.clientId);
  alice.client.outbox.discard(notMember.clientId);
  await alice.outboxEmpty();
  expect(alice.texts(room)).toEqual(["next"]);
  await expectShownEqualsStored(system, alice, archived);
});

test("an unanswered message fails after some tries, and never for time without a connection", async () => {
  // The clock is ten times as fast, because the pauses last minutes.
  const device = new Device(10);
  const alice = await system.connected(system.name("alice"), { ...device.options, transport: "websocket" });
  const room = await system.room([alice.id]);
  await alice.open(room);

  await system.stack.link("gateway", 0, "refuse");
  await system.stack.link("gateway", 0, "cut");
  await alice.waitForState("reconnecting");
  const { clientId } = alice.client.room(room).send("patience");
  // Waits longer than all tries on one connection take.
  await device.wait(30_000);
  expect(alice.rows(room)).toMatchObject([{ clientId, status: "sending" }]);
  await system.stack.link("gateway", 0, "heal");
  await alice.waitUntilSent(room, clientId);
  await alice.outboxEmpty();

  device.dropsFrame = (text) => text.includes("message:send");
  const unanswered = alice.client.room(room).send("into the void");
  await waitUntil("the message has failed", () =>
    alice.rows(room).some((row) => row.clientId === unanswered.clientId && row.status === "failed"),
  );
  const row = alice.rows(room).find((message) => message.clientId === unanswered.clientId);
  expect(row?.error?.code).toBe("timeout");
  expect(alice.states).toEqual(["connecting", "connected", "reconnecting", "connected"]);
  device.dropsFrame = () => false;
  alice.client.outbox.retryAll();
  await alice.waitUntilSent(room, unanswered.clientId);
  await alice.outboxEmpty();
  expect((await history(system, alice.id, room)).map(({ content }) => content)).toEqual([
    "patience",
    "into the void",
  ]);
});
