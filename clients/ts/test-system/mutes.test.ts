/** Muted rooms with a real `tidings-push`. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { mutes } from "../src/push.js";
import { type OneOrigin, startOneOrigin } from "./one-origin.js";
import { System } from "./support/system.js";
import { waitUntil } from "./support/until.js";

const system = new System({ push: true });

/** Serves push and all other HTTP APIs at one origin, because the kit knows only one `httpUrl`. */
let oneOrigin: OneOrigin;
beforeAll(async () => {
  const { stack } = system;
  oneOrigin = await startOneOrigin(stack.gateway(), stack.http(), stack.at);
});
afterAll(() => oneOrigin.close());

const HOUR_MS = 3_600_000;
const device = (user: string) => system.connected(user, { httpUrl: oneOrigin.origin });

test("a device sees the mutes and unmutes of another device after a load", async () => {
  const alice = system.name("alice");
  const [first, second] = [await system.room([alice]), await system.room([alice])];
  const [phone, laptop] = [mutes((await device(alice)).client), mutes((await device(alice)).client)];
  expect(await laptop.load()).toEqual(new Map());
  const end = Date.now() + HOUR_MS;
  await phone.mute(first, end);
  await phone.mute(second);
  const expected = new Map([
    [first, end],
    [second, null],
  ]);
  expect(phone.get()).toEqual(expected);
  expect(laptop.get()).toEqual(new Map());
  expect(await laptop.load()).toEqual(expected);
  await laptop.mute(first);
  await laptop.unmute(second);
  // Unmuted by the other device already.
  await phone.unmute(second);
  expect(await phone.load()).toEqual(new Map([[first, null]]));
});

test("a mute ends on the device and on the server", async () => {
  const alice = system.name("alice");
  const room = await system.room([alice]);
  const muted = mutes((await device(alice)).client);
  let shown: boolean | undefined;
  const unsubscribe = muted.subscribe(() => {
    shown = muted.get()?.has(room);
  });
  await muted.mute(room, Date.now() + 2_000);
  expect(shown).toBe(true);
  await waitUntil("the listeners see the end", () => shown === false);
  await waitUntil("the server has ended it", async () => (await muted.load()).size === 0);
  unsubscribe();
});

test("the refusals of the server are errors of the kit", async () => {
  const [alice, bob] = [system.name("alice"), system.name("bob")];
  const room = await system.room([bob]);
  const muted = mutes((await device(alice)).client);
  await expect(muted.mute(room)).rejects.toMatchObject({ name: "TidingsError", code: "not_found" });
  const own = await system.room([alice]);
  await expect(muted.mute(own, Date.now() - HOUR_MS)).rejects.toMatchObject({
    code: "bad_request",
    field: "until",
  });
  expect(await muted.load()).toEqual(new Map());
  // Persistence does not serve the API of push.
  const withoutPush = mutes((await system.connected(alice)).client);
  await expect(withoutPush.load()).rejects.toMatchObject({ code: "not_found" });
});
