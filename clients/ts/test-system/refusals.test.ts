/** Refusals: those for now are waited out, those for good fail at once, and what failed can be tried again. */
import { expect, test } from "vitest";
import { Device } from "./support/device.js";
import { expectWhole, history } from "./support/history.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

// A backlog so short that few messages fill it.
const backlog = { TIDINGS_MAX_BACKLOG_RECORDS: 10 };
const system = new System({ proxied: true, gatewayEnv: backlog, persistenceEnv: backlog });

test("with storage away messages are accepted, and known to be stored once it is back", async () => {
  const alice = await system.connected(system.name("alice"), new Device(10).options);
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.pause("postgres");
  for (let i = 1; i <= 5; i++) alice.client.room(room).send(`m${i}`);
  await until(
    "they have a place",
    () => alice.rows(room).filter(({ seq }) => seq !== undefined).length === 5,
  );
  // Longer than an answer is waited for: what is accepted does not fail.
  await rest(3200);
  expect(alice.rows(room).map(({ status, stored }) => [status, stored])).toEqual(
    Array(5).fill(["sent", false]),
  );
  await system.stack.resume("postgres");
  await alice.emptied();
  expect(alice.rows(room).every(({ stored }) => stored)).toBe(true);
  await expectWhole(system, alice, room);
});

test("with storage away for long the backlog is full: that is waited out, and nothing is lost", async () => {
  const alice = await system.connected(system.name("alice"));
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.pause("postgres");
  const texts = Array.from({ length: 15 }, (_, i) => `m${i + 1}`);
  for (const text of texts) alice.client.room(room).send(text);
  await until("it was refused", () =>
    alice.frames.some((frame) => frame.type === "error" && frame.code === "overloaded"),
  );
  expect(alice.rows(room).map(({ status }) => status)).not.toContain("failed");
  await system.stack.resume("postgres");
  await alice.emptied(30_000);
  expect((await history(system, alice.id, room)).map(({ content }) => content)).toEqual(texts);
  await expectWhole(system, alice, room);
});

test("sixty messages at once are more than one may send, and arrive all the same, once and in order", async () => {
  const alice = await system.connected(system.name("alice"));
  const room = await system.room([alice.id]);
  await alice.open(room);
  const texts = Array.from({ length: 60 }, (_, i) => `m${i + 1}`);
  // The gateway stands still until all of them lie in its socket: a slow machine must not spread them over the time.
  await system.stack.pause("gateway");
  for (const text of texts) alice.client.room(room).send(text);
  await rest(200);
  await system.stack.resume("gateway");
  await alice.emptied();
  expect(alice.frames.some((frame) => frame.type === "error" && frame.code === "rate_limited")).toBe(true);
  expect((await history(system, alice.id, room)).map(({ content }) => content)).toEqual(texts);
  await expectWhole(system, alice, room);
});

test("with Redis away sends are unavailable, and go out once it is back", async () => {
  const alice = await system.connected(system.name("alice"));
  const room = await system.room([alice.id]);
  await alice.open(room);
  await system.stack.kill("redis");
  for (let i = 1; i <= 3; i++) alice.client.room(room).send(`m${i}`);
  await until("it was refused", () =>
    alice.frames.some((frame) => frame.type === "error" && frame.code === "unavailable"),
  );
  expect(alice.rows(room).map(({ status }) => status)).toEqual(["sending", "sending", "sending"]);
  await system.stack.start("redis");
  await alice.emptied(40_000);
  expect((await history(system, alice.id, room)).map(({ content }) => content)).toEqual(["m1", "m2", "m3"]);
  await expectWhole(system, alice, room);
});

test("what is refused for good fails at once, says why, and holds up nothing behind it", async () => {
  const alice = await system.connected(system.name("alice"));
  const [room, archived] = [await system.room([alice.id]), await system.room([alice.id])];
  const foreign = await system.room([system.name("bob")]);
  await alice.open(room, archived);
  await system.http(alice.id, "PATCH", `/rooms/${archived}`, { archived: true });
  const began = Date.now();
  const long = alice.client.room(room).send("x".repeat(1001));
  const dead = alice.client.room(archived).send("anybody?");
  const strange = alice.client.room(foreign).send("let me in");
  await alice.say(room, "next");
  const failed = (clientId: string) => alice.client.outbox.get().find((entry) => entry.clientId === clientId);
  await until("all are refused", () =>
    [long, dead, strange].every(({ clientId }) => failed(clientId)?.status === "failed"),
  );
  expect(Date.now() - began).toBeLessThan(4000);
  expect(failed(long.clientId)?.error?.code).toBe("too_large");
  expect(failed(dead.clientId)?.error?.code).toBe("conflict");
  expect(failed(strange.clientId)?.error?.code).toBe("not_found");
  expect(alice.rows(archived)).toMatchObject([{ status: "failed", error: { code: "conflict" } }]);

  // Tried again it may be taken, and what is discarded is gone.
  await system.http(alice.id, "PATCH", `/rooms/${archived}`, { archived: false });
  await until("it hears of that", () => alice.listed(archived)?.archived === false);
  alice.client.outbox.retry(dead.clientId);
  await alice.sent(archived, dead.clientId);
  alice.client.outbox.discard(long.clientId);
  alice.client.outbox.discard(strange.clientId);
  await alice.emptied();
  expect(alice.texts(room)).toEqual(["next"]);
  await expectWhole(system, alice, archived);
});

test("without any answer it fails after some tries on a connection, and never for time without one", async () => {
  // Ten times as fast: the pauses are those of minutes.
  const device = new Device(10);
  const alice = await system.connected(system.name("alice"), { ...device.options, transport: "websocket" });
  const room = await system.room([alice.id]);
  await alice.open(room);

  await system.stack.link("gateway", 0, "refuse");
  await system.stack.link("gateway", 0, "cut");
  await alice.becomes("reconnecting");
  const { clientId } = alice.client.room(room).send("patience");
  // Longer, of its time, than it is tried on a connection.
  await rest(3500);
  expect(alice.rows(room)).toMatchObject([{ clientId, status: "sending" }]);
  await system.stack.link("gateway", 0, "heal");
  await alice.sent(room, clientId);
  await alice.emptied();

  device.loses = (text) => text.includes("message:send");
  const lost = alice.client.room(room).send("into the void");
  await until("it has failed", () =>
    alice.rows(room).some((row) => row.clientId === lost.clientId && row.status === "failed"),
  );
  const row = alice.rows(room).find((message) => message.clientId === lost.clientId);
  expect(row?.error?.code).toBe("timeout");
  expect(alice.states).toEqual(["connecting", "connected", "reconnecting", "connected"]);
  device.loses = () => false;
  alice.client.outbox.retryAll();
  await alice.sent(room, lost.clientId);
  await alice.emptied();
  expect((await history(system, alice.id, room)).map(({ content }) => content)).toEqual([
    "patience",
    "into the void",
  ]);
});
