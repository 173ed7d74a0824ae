/** A connection: the states that it goes through, and who ends it for good. */
import { expect, test } from "vitest";
import { Device } from "./support/device.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({
  proxied: true,
  gatewayEnv: { TIDINGS_CONNECTIONS_PER_USER: 2, TIDINGS_HEARTBEAT_MS: 2000 },
});

test("a connection goes from disconnected over connecting to connected, and tells who one is", async () => {
  const alice = system.person(system.name("alice"), { name: "Alice" });
  expect(alice.client.connection.get()).toMatchObject({ state: "disconnected", attempt: 0, draining: false });
  expect(alice.tokens).toBe(0);
  await alice.client.connect();
  expect(alice.states).toEqual(["connecting", "connected"]);
  expect(alice.client.connection.get()).toMatchObject({
    state: "connected",
    transport: "websocket",
    attempt: 0,
  });
  expect(alice.client.me.get()).toMatchObject({
    id: alice.id,
    name: "Alice",
    limits: { max_message_chars: 1000 },
  });
  expect(alice.tokens).toBe(1);
  alice.client.disconnect();
  expect(alice.states).toEqual(["connecting", "connected", "disconnected"]);
  await alice.client.connect();
  expect(alice.states).toEqual(["connecting", "connected", "disconnected", "connecting", "connected"]);
});

test("a connection that is cut is reconnecting, and then connected again", async () => {
  const alice = await system.connected(system.name("alice"));
  for (const weather of ["cut", "reset"] as const) {
    alice.states.length = 0;
    await system.stack.link("gateway", 0, weather);
    await until("it is connected again", () => alice.states.length >= 2 && alice.state === "connected");
    expect(alice.states).toEqual(["reconnecting", "connected"]);
  }
});

test("where nobody answers it says since when and for how long, and an impatient user need not wait", async () => {
  await system.stack.link("gateway", 0, "refuse");
  // The longest pauses there are.
  const alice = system.person(system.name("alice"), { random: () => 0.999 });
  const connected = alice.client.connect();
  await until("it has failed twice", () => alice.client.connection.get().attempt >= 2);
  const { state, retryAt, error } = alice.client.connection.get();
  expect([state, error?.code]).toEqual(["reconnecting", "network"]);
  await until("it waits", () => (alice.client.connection.get().retryAt ?? 0) > Date.now() + 500);
  expect(retryAt).toBeGreaterThan(0);
  await system.stack.link("gateway", 0, "heal");
  await until(
    "a pause of seconds begins",
    () => (alice.client.connection.get().retryAt ?? 0) > Date.now() + 500,
  );
  const planned = alice.client.connection.get().retryAt ?? 0;
  alice.client.retryNow();
  await connected;
  expect(Date.now()).toBeLessThan(planned);
  expect(alice.states).toEqual(["connecting", "reconnecting", "connected"]);
});

test("a connection in a black hole is found out, and left", async () => {
  const alice = await system.connected(system.name("alice"), new Device(5).options);
  alice.states.length = 0;
  await system.stack.link("gateway", 0, "black_hole");
  await alice.becomes("reconnecting");
  await system.stack.link("gateway", 0, "heal");
  await alice.becomes("connected");
  expect(alice.states).toEqual(["reconnecting", "connected"]);
});

test("who is blocked is thrown out, told why, and does not come back", async () => {
  const alice = await system.connected(system.name("alice"));
  const { tokens } = alice;
  await system.http("root", "PUT", `/users/${alice.id}`, { blocked: true }, "tidings.admin");
  await alice.becomes("disconnected");
  const { error } = alice.client.connection.get();
  expect([error?.code, error?.closeCode ?? 4403]).toEqual(["forbidden", 4403]);
  await rest(1500);
  expect(alice.states).toEqual(["connecting", "connected", "disconnected"]);
  expect(alice.tokens).toBe(tokens);
  expect(alice.errors.map(({ code }) => code)).toContain("forbidden");
  await expect(alice.client.connect()).rejects.toMatchObject({ code: "forbidden" });
  await system.http("root", "PUT", `/users/${alice.id}`, { blocked: false }, "tidings.admin");
  await alice.client.connect();
});

test("with one connection too many the oldest is closed, and does not push out the others", async () => {
  const id = system.name("alice");
  const first = await system.connected(id);
  const second = await system.connected(id);
  const third = await system.connected(id);
  await first.becomes("disconnected");
  expect(first.client.connection.get().error).toMatchObject({ code: "conflict", closeCode: 4409 });
  await rest(1500);
  expect([first.state, second.state, third.state]).toEqual(["disconnected", "connected", "connected"]);
  expect(second.states).toEqual(["connecting", "connected"]);
});
