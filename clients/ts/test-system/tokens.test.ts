/** Tokens: asked for when they are needed, renewed before they end, and once where one is refused. */

import { expect, test } from "vitest";
import { members } from "../src/live.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System();

test("a token that is about to expire is renewed on the open connection", async () => {
  const id = system.name("alice");
  const alice = await system.connected(id, { token: () => system.stack.token(id, { ttl: 4 }) });
  const room = await system.room([id]);
  await alice.open(room);
  // Longer than one of its lives.
  await rest(6500);
  expect(alice.tokens).toBeGreaterThanOrEqual(3);
  expect(alice.states).toEqual(["connecting", "connected"]);
  expect(alice.errors).toEqual([]);
  await alice.say(room, "still here");
  // HTTP goes with the new one, too.
  await members(alice.client.room(room)).load();
});

test("a token that is refused leads to one new one", async () => {
  const id = system.name("alice");
  let asked = 0;
  const alice = system.person(id, {
    token: () => (asked++ === 0 ? system.stack.token(id, { ttl: -10 }) : system.stack.token(id)),
  });
  await alice.client.connect();
  expect(alice.tokens).toBe(2);
  expect(alice.state).toBe("connected");
});

test("a second refusal ends it, with the reason", async () => {
  const id = system.name("alice");
  const alice = system.person(id, { token: () => `${system.stack.token(id).slice(0, -6)}AAAAAA` });
  await expect(alice.client.connect()).rejects.toMatchObject({ code: "unauthorized", reason: "signature" });
  await rest(1000);
  expect(alice.tokens).toBe(2);
  expect(alice.client.connection.get()).toMatchObject({
    state: "disconnected",
    error: { code: "unauthorized" },
  });
});

test("a token function that fails is asked again", async () => {
  const id = system.name("alice");
  let asked = 0;
  const alice = system.person(id, {
    token: () => {
      if (asked++ < 2) throw new Error("no network for tokens");
      return system.stack.token(id);
    },
  });
  const connected = alice.client.connect();
  await until("it says why", () => alice.client.connection.get().error?.code === "network");
  await connected;
  expect(alice.tokens).toBe(3);
});

test("a token that HTTP refuses is renewed, and the request made again", async () => {
  const id = system.name("alice");
  let bad = true;
  const alice = system.person(id, { token: () => system.stack.token(id, { ttl: bad ? -10 : 3600 }) });
  const room = await system.room([id]);
  const asked = alice.client.http<{ room: string }>("GET", `/rooms/${room}`);
  bad = false;
  await expect(asked).resolves.toMatchObject({ room });
});

test("a connection whose token expires, since the new one was refused, comes back with another one", async () => {
  const id = system.name("alice");
  const lives = [2, -10];
  const alice = await system.connected(id, {
    token: () => system.stack.token(id, { ttl: lives.shift() ?? 3600 }),
  });
  await until("it was closed", () => alice.states.includes("reconnecting"));
  await alice.becomes("connected");
  expect(alice.states).toEqual(["connecting", "connected", "reconnecting", "connected"]);
  expect(alice.errors.map(({ code, reason }) => [code, reason])).toContainEqual(["unauthorized", "expired"]);
  expect(alice.tokens).toBe(3);
});
