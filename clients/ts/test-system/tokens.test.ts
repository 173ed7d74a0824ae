/** Tokens are requested when needed, renewed before they expire, and replaced once after a refusal. */

import { expect, test } from "vitest";
import { members } from "../src/live.js";
import { Device } from "./support/device.js";
import { System } from "./support/system.js";
import { quietPeriod, waitUntil } from "./support/until.js";

const system = new System();

test("a token that is about to expire is renewed on the open connection", async () => {
  const id = system.name("alice");
  // The clock is five times as fast, so each token is renewed long before it expires.
  const alice = await system.connected(id, {
    ...new Device(5).options,
    token: () => system.stack.token(id, { ttl: 2 }),
  });
  const firstTokenExpires = Date.now() + 2000;
  const room = await system.room([id]);
  await alice.open(room);
  await waitUntil("the first token has expired", () => Date.now() > firstTokenExpires);
  expect(alice.tokenRequests).toBeGreaterThanOrEqual(3);
  expect(alice.states).toEqual(["connecting", "connected"]);
  expect(alice.errors).toEqual([]);
  await alice.send(room, "still here");
  // HTTP uses the new token too.
  await members(alice.client.room(room)).load();
});

test("a refused token leads to one new token", async () => {
  const id = system.name("alice");
  let asked = 0;
  const alice = system.person(id, {
    token: () => (asked++ === 0 ? system.stack.token(id, { ttl: -10 }) : system.stack.token(id)),
  });
  await alice.client.connect();
  expect(alice.tokenRequests).toBe(2);
  expect(alice.state).toBe("connected");
});

test("a second refused token ends the connection with the reason", async () => {
  const id = system.name("alice");
  const alice = system.person(id, {
    ...new Device(10).options,
    token: () => `${system.stack.token(id).slice(0, -6)}AAAAAA`,
  });
  await expect(alice.client.connect()).rejects.toMatchObject({ code: "unauthorized", reason: "signature" });
  await quietPeriod();
  expect(alice.tokenRequests).toBe(2);
  expect(alice.client.connection.get()).toMatchObject({
    state: "disconnected",
    error: { code: "unauthorized" },
  });
});

test("the kit calls a failing token function again", async () => {
  const id = system.name("alice");
  let asked = 0;
  const alice = system.person(id, {
    token: () => {
      if (asked++ < 2) throw new Error("no network for tokens");
      return system.stack.token(id);
    },
  });
  const connected = alice.client.connect();
  await waitUntil("the error is shown", () => alice.client.connection.get().error?.code === "network");
  await connected;
  expect(alice.tokenRequests).toBe(3);
});

test("a token refused by HTTP is renewed, and the request is repeated", async () => {
  const id = system.name("alice");
  let expired = true;
  const alice = system.person(id, { token: () => system.stack.token(id, { ttl: expired ? -10 : 3600 }) });
  const room = await system.room([id]);
  const asked = alice.client.http<{ room: string }>("GET", `/rooms/${room}`);
  expired = false;
  await expect(asked).resolves.toMatchObject({ room });
});

test("a connection reconnects with another token after its renewal was refused", async () => {
  const id = system.name("alice");
  const ttls = [2, -10];
  const alice = await system.connected(id, {
    token: () => system.stack.token(id, { ttl: ttls.shift() ?? 3600 }),
  });
  await waitUntil("the connection was closed", () => alice.states.includes("reconnecting"));
  await alice.waitForState("connected");
  expect(alice.states).toEqual(["connecting", "connected", "reconnecting", "connected"]);
  expect(alice.errors.map(({ code, reason }) => [code, reason])).toContainEqual(["unauthorized", "expired"]);
  expect(alice.tokenRequests).toBe(3);
});
