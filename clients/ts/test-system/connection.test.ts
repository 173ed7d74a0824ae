/** The states of a connection, and close codes after which the client does not reconnect. */
import { expect, test } from "vitest";
import { Device } from "./support/device.js";
import { System } from "./support/system.js";
import { quietPeriod, waitUntil } from "./support/until.js";

const system = new System({
  proxied: true,
  gatewayEnv: { TIDINGS_CONNECTIONS_PER_USER: 2, TIDINGS_HEARTBEAT_MS: 2000 },
});

test("a connection goes from disconnected through connecting to connected and names the user", async () => {
  const alice = system.person(system.name("alice"), { name: "Alice" });
  expect(alice.client.connection.get()).toMatchObject({ state: "disconnected", attempt: 0, draining: false });
  expect(alice.tokenRequests).toBe(0);
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
    limits: { maxMessageChars: 1000 },
  });
  expect(alice.tokenRequests).toBe(1);
  alice.client.disconnect();
  expect(alice.states).toEqual(["connecting", "connected", "disconnected"]);
  await alice.client.connect();
  expect(alice.states).toEqual(["connecting", "connected", "disconnected", "connecting", "connected"]);
});

test("a cut connection is reconnecting and then connected again", async () => {
  const alice = await system.connected(system.name("alice"));
  for (const fault of ["cut", "reset"] as const) {
    alice.states.length = 0;
    await system.stack.link("gateway", 0, fault);
    await waitUntil(
      "the client is connected again",
      () => alice.states.length >= 2 && alice.state === "connected",
    );
    expect(alice.states).toEqual(["reconnecting", "connected"]);
  }
});

test("without an answer the client shows its retry time, and retryNow skips the wait", async () => {
  await system.stack.link("gateway", 0, "refuse");
  // This random number gives each pause almost its maximum length.
  const alice = system.person(system.name("alice"), { random: () => 0.999 });
  const connected = alice.client.connect();
  await waitUntil("two attempts have failed", () => alice.client.connection.get().attempt >= 2);
  const { state, retryAt, error } = alice.client.connection.get();
  expect([state, error?.code]).toEqual(["reconnecting", "network"]);
  await waitUntil(
    "the client waits for the next attempt",
    () => (alice.client.connection.get().retryAt ?? 0) > Date.now() + 500,
  );
  expect(retryAt).toBeGreaterThan(0);
  await system.stack.link("gateway", 0, "heal");
  await waitUntil(
    "a pause of seconds begins",
    () => (alice.client.connection.get().retryAt ?? 0) > Date.now() + 500,
  );
  const planned = alice.client.connection.get().retryAt ?? 0;
  alice.client.retryNow();
  await connected;
  expect(Date.now()).toBeLessThan(planned);
  expect(alice.states).toEqual(["connecting", "reconnecting", "connected"]);
});

test("the client detects and leaves a black-holed connection", async () => {
  const alice = await system.connected(system.name("alice"), new Device(5).options);
  alice.states.length = 0;
  await system.stack.link("gateway", 0, "black_hole");
  await alice.waitForState("reconnecting");
  await system.stack.link("gateway", 0, "heal");
  await alice.waitForState("connected");
  expect(alice.states).toEqual(["reconnecting", "connected"]);
});

test("a blocked user is disconnected with the reason and does not reconnect", async () => {
  const alice = await system.connected(system.name("alice"));
  const { tokenRequests } = alice;
  await system.http("root", "PUT", `/users/${alice.id}`, { blocked: true }, "tidings.admin");
  await alice.waitForState("disconnected");
  const { error } = alice.client.connection.get();
  expect([error?.code, error?.closeCode ?? 4403]).toEqual(["forbidden", 4403]);
  await quietPeriod();
  expect(alice.states).toEqual(["connecting", "connected", "disconnected"]);
  expect(alice.tokenRequests).toBe(tokenRequests);
  expect(alice.errors.map(({ code }) => code)).toContain("forbidden");
  await expect(alice.client.connect()).rejects.toMatchObject({ code: "forbidden" });
  await system.http("root", "PUT", `/users/${alice.id}`, { blocked: false }, "tidings.admin");
  await alice.client.connect();
});

test("one connection above the limit closes the oldest, which does not replace the others", async () => {
  const id = system.name("alice");
  const first = await system.connected(id);
  const second = await system.connected(id);
  const third = await system.connected(id);
  await first.waitForState("disconnected");
  expect(first.client.connection.get().error).toMatchObject({ code: "conflict", closeCode: 4409 });
  await quietPeriod();
  expect([first.state, second.state, third.state]).toEqual(["disconnected", "connected", "connected"]);
  expect(second.states).toEqual(["connecting", "connected"]);
});
