// Muted rooms with a scripted server. `test-system/mutes.test.ts` has the tests with `tidings-push`.
import { beforeEach, expect, test } from "vitest";
import { mutes } from "../src/push.js";
import { serveMutes } from "./support/mutes.js";
import { World } from "./support/world.js";

const HOUR_MS = 3_600_000;
const ROOMS = ["r", "other"];

let world: World;
let serverMutes: Map<string, string | null>;

beforeEach(() => {
  world = new World(ROOMS);
  serverMutes = serveMutes(world.server);
});

/** A connected client, and how often its list of muted rooms has changed. */
async function connected(user = "alice") {
  const client = await world.connected({ user }, 100);
  const muted = mutes(client);
  let changes = 0;
  const unsubscribe = muted.subscribe(() => changes++);
  return { client, muted, unsubscribe, changes: () => changes };
}

const muteRequests = () => world.server.requests.filter((request) => request.includes("/me/mutes"));
/** Lets the requests of a call pass, and returns its result. */
async function done<T>(call: Promise<T>): Promise<T> {
  call.catch(() => {});
  await world.clock.pass(1_000);
  return call;
}
const inAnHour = () => world.clock.now() + HOUR_MS;
const iso = (at: number) => new Date(at).toISOString();

test("the list is read when the app asks, and a client has one list", async () => {
  const { client, muted } = await connected();
  const end = inAnHour();
  serverMutes.set("r", null).set("other", iso(end));
  await world.clock.pass(1_000);
  expect(muted.get()).toBeUndefined();
  expect(muteRequests()).toEqual([]);
  const list = await done(muted.load());
  expect([...list]).toEqual([
    ["r", null],
    ["other", end],
  ]);
  expect(muted.get()).toBe(list);
  expect(mutes(client)).toBe(muted);
});

test("listeners see a mute and an unmute of this client", async () => {
  const { muted, changes } = await connected();
  await done(muted.load());
  expect(changes()).toBe(1);
  const end = inAnHour();
  await done(muted.mute("r", end));
  expect(serverMutes).toEqual(new Map([["r", iso(end)]]));
  expect(muted.get()).toEqual(new Map([["r", end]]));
  await done(muted.mute("r"));
  expect(muted.get()).toEqual(new Map([["r", null]]));
  expect(changes()).toBe(3);
  await done(muted.unmute("r"));
  expect(muted.get()).toEqual(new Map());
  expect(serverMutes.size).toBe(0);
  expect(changes()).toBe(4);
  expect(muteRequests()).toHaveLength(4);
});

test("a change before the first load also reads the rooms of other devices", async () => {
  const { muted } = await connected();
  serverMutes.set("other", null);
  await done(muted.mute("r"));
  expect([...(muted.get() ?? [])]).toEqual([
    ["other", null],
    ["r", null],
  ]);
});

test("a room leaves the list at its end without a request, also if timers are late", async () => {
  const { muted, changes } = await connected();
  await done(muted.load());
  await done(muted.mute("other"));
  await done(muted.mute("r", inAnHour()));
  const before = changes();
  await world.clock.pass(HOUR_MS / 2);
  expect(muted.get()?.has("r")).toBe(true);
  const list = muted.get();
  expect(muted.get()).toBe(list);
  await world.clock.pass(HOUR_MS / 2);
  expect(changes()).toBe(before + 1);
  expect(muted.get()).toEqual(new Map([["other", null]]));
  expect(muteRequests()).toHaveLength(3);

  await done(muted.mute("r", inAnHour()));
  // A device that slept has not run its timers yet.
  world.clock.jump(HOUR_MS);
  expect(muted.get()).toEqual(new Map([["other", null]]));
});

test("the timer of the end exists only while there are listeners", async () => {
  const { client, muted, unsubscribe } = await connected();
  await done(muted.mute("r", inAnHour()));
  client.close();
  expect(world.clock.pending).toBe(1);
  unsubscribe();
  expect(world.clock.pending).toBe(0);
  const again = muted.subscribe(() => {});
  expect(world.clock.pending).toBe(1);
  again();
});

test("a mute that is longer than the longest timer ends on time", async () => {
  const { client, muted } = await connected();
  const end = world.clock.now() + 60 * 24 * HOUR_MS;
  serverMutes.set("r", iso(end)).set("other", null);
  await done(muted.load());
  // Without the heartbeats of these days the test is short.
  client.disconnect();
  await world.clock.pass(30 * 24 * HOUR_MS);
  expect(muted.get()?.get("r")).toBe(end);
  await world.clock.pass(30 * 24 * HOUR_MS);
  expect(muted.get()).toEqual(new Map([["other", null]]));
});

test("the answer to an earlier load does not hide a later change", async () => {
  const { muted } = await connected();
  await done(muted.load());
  const [list] = await done(
    Promise.all([muted.load(), muted.mute("r"), muted.mute("other"), muted.unmute("r")]),
  );
  expect(list).toEqual(new Map());
  expect(muted.get()).toEqual(new Map([["other", null]]));
  expect(muteRequests().slice(1)).toEqual([
    "GET /me/mutes",
    "PUT /me/mutes/r",
    "PUT /me/mutes/other",
    "DELETE /me/mutes/r",
  ]);
});

test("errors are those of the kit, change nothing, and do not stop later calls", async () => {
  const { muted } = await connected();
  await done(muted.load());
  await expect(done(muted.mute("unknown"))).rejects.toMatchObject({
    name: "TidingsError",
    code: "not_found",
  });
  for (const until of [Number.NaN, Number.POSITIVE_INFINITY])
    await expect(done(muted.mute("r", until))).rejects.toMatchObject({
      name: "TidingsError",
      code: "bad_request",
    });
  expect(muted.get()).toEqual(new Map());
  await done(muted.unmute("r"));
  world.server.http = () => ({ status: 404 });
  await expect(done(muted.load())).rejects.toMatchObject({ name: "TidingsError", code: "not_found" });
  expect(muted.get()).toEqual(new Map());
});

test("after a sign-out nothing is sent or shown for the next user", async () => {
  let user = "alice";
  const client = await world.connected({ token: () => `${user}.1` }, 100);
  const muted = mutes(client);
  serverMutes.set("r", null);
  await done(muted.load());
  const results = Promise.allSettled([muted.load(), muted.unmute("r"), muted.mute("other")]);
  // The answer to the first request is on its way.
  await world.clock.pass(7);
  client.disconnect();
  user = "bob";
  client.connect().catch(() => {});
  await world.clock.pass(1_000);
  expect(client.me.get()?.id).toBe("bob");
  for (const result of await results)
    expect(result).toMatchObject({ status: "rejected", reason: { code: "disconnected" } });
  expect(muted.get()).toBeUndefined();
  expect(serverMutes).toEqual(new Map([["r", null]]));
  expect(muteRequests()).toEqual(["GET /me/mutes", "GET /me/mutes"]);
});
