/** Several tabs, or several users, on one storage: the owner sends each message once. */
import { expect, test } from "vitest";
import { type AdapterStorage, customStorage, memoryStorage } from "../src/storage.js";
import { Device } from "./support/device.js";
import { waitUntilPersisted } from "./support/entries.js";
import { expectShownEqualsStored, history } from "./support/history.js";
import { System } from "./support/system.js";
import { quietPeriod, sleep, waitUntil } from "./support/until.js";

const system = new System({
  gateways: 2,
  gatewayEnv: { TIDINGS_MESSAGES_PER_SECOND: 10_000, TIDINGS_MESSAGES_BURST: 10_000 },
});

/** A URL at which no server listens. */
const UNREACHABLE_URL = "http://127.0.0.1:1";
const numberedTexts = (count: number, text: string) =>
  Array.from({ length: count }, (_, i) => `${text}${i + 1}`);
const storedTexts = async (user: string, room: string) =>
  (await history(system, user, room)).map(({ content }) => content);

/** A storage that is slow and reports changes to the other tabs, like that of a browser. */
function sharedStorage(): () => AdapterStorage {
  const sharedEntries = memoryStorage();
  const tabs = new Set<(key: string) => void>();
  return () => {
    let ownListener: ((key: string) => void) | undefined;
    const notify = (key: string) => {
      for (const tab of tabs) if (tab !== ownListener) setTimeout(() => tab(key), 1);
    };
    const slowly = async <T>(work: () => T): Promise<T> => {
      await sleep(1);
      return work();
    };
    return customStorage({
      getItem: (key) => slowly(() => sharedEntries.getItem(key) as string | null),
      setItem: (key, value) => slowly(() => sharedEntries.setItem(key, value)).then(() => notify(key)),
      removeItem: (key) => slowly(() => sharedEntries.removeItem(key)).then(() => notify(key)),
      keys: () => slowly(() => sharedEntries.keys?.() as string[]),
      subscribe: (listener) => {
        ownListener = listener;
        tabs.add(listener);
        return () => void tabs.delete(listener);
      },
    });
  };
}

/** Stores the last user, as an earlier session does. */
async function storeLastUser(id: string, storage: AdapterStorage): Promise<void> {
  const person = await system.connected(id, { storage });
  await waitUntil("the storage contains the user", async () =>
    (await storage.keys?.())?.some((key) => key.endsWith("/user")),
  );
  person.client.close();
}

test("two tabs on one storage send each message once, and each shows all messages", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = sharedStorage();
  const tabs = [
    await system.connected(id, { storage: storage() }),
    await system.connected(id, { storage: storage() }),
  ];
  for (const tab of tabs) await tab.open(room);
  for (let i = 1; i <= 20; i++) {
    tabs.forEach((tab, number) => {
      tab.client.room(room).send(`t${number}-${i}`);
    });
    if (i % 5 === 0) await sleep(20);
  }
  for (const tab of tabs) await tab.outboxEmpty();
  const all = await storedTexts(id, room);
  expect(all).toHaveLength(40);
  for (const number of [0, 1]) {
    expect(all.filter((text) => text.startsWith(`t${number}`))).toEqual(numberedTexts(20, `t${number}-`));
  }
  for (const tab of tabs) await expectShownEqualsStored(system, tab, room);
});

test("a tab sends entries of another tab only after that tab closes", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = sharedStorage();
  await storeLastUser(id, storage());
  const clockOrigin = Date.now();
  const tab = () => ({ ...new Device(10, clockOrigin).options, storage: storage() });
  const offline = system.person(id, { ...tab(), url: UNREACHABLE_URL });
  void offline.client.connect().catch(() => undefined);
  await offline.waitForState("reconnecting");
  for (const text of numberedTexts(5, "m")) offline.client.room(room).send(text);
  await waitUntilPersisted(storage(), 5);
  const other = await system.connected(id, tab());
  await other.open(room);
  await other.send(room, "mine");
  await quietPeriod();
  expect(await storedTexts(id, room)).toEqual(["mine"]);
  offline.client.close();
  await waitUntil("all messages are stored", async () => (await storedTexts(id, room)).length === 6);
  await other.outboxEmpty();
  expect(await storedTexts(id, room)).toEqual(["mine", ...numberedTexts(5, "m")]);
  await expectShownEqualsStored(system, other, room);
});

test("the other tabs adopt the entries of a crashed tab, each entry by one tab", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = sharedStorage();
  await storeLastUser(id, storage());
  // The clock is ten times as fast, because another tab adopts entries only after the lease of their tab has expired.
  const clockOrigin = Date.now();
  const device = () => new Device(10, clockOrigin);
  const crashing = device();
  const crashed = system.person(id, { ...crashing.options, storage: storage(), url: UNREACHABLE_URL });
  void crashed.client.connect().catch(() => undefined);
  await crashed.waitForState("reconnecting");
  for (const text of numberedTexts(8, "m")) crashed.client.room(room).send(text);
  await waitUntilPersisted(storage(), 8);
  crashing.crash();
  const adopters = await Promise.all(
    [1, 2, 3].map(() => system.connected(id, { ...device().options, storage: storage() })),
  );
  await waitUntil("all messages are stored", async () => (await storedTexts(id, room)).length >= 8);
  await quietPeriod();
  // Each tab sends the entries that it adopted in order; the order between tabs is undefined.
  expect((await storedTexts(id, room)).sort()).toEqual(numberedTexts(8, "m"));
  for (const adopter of adopters) await adopter.outboxEmpty();
});

test("messages of one user wait on a shared device until that user returns", async () => {
  const [alice, bob] = [system.name("alice"), system.name("bob")];
  const room = await system.room([alice, bob]);
  const storage = memoryStorage();
  await storeLastUser(alice, storage);
  const offline = system.person(alice, { storage, url: UNREACHABLE_URL });
  void offline.client.connect().catch(() => undefined);
  await offline.waitForState("reconnecting");
  for (const text of numberedTexts(3, "a")) offline.client.room(room).send(text);
  await waitUntilPersisted(storage, 3);
  offline.client.close();

  const second = await system.connected(bob, { ...new Device(10).options, storage });
  await second.open(room);
  await second.send(room, "I am bob");
  await quietPeriod();
  expect(second.client.outbox.get()).toEqual([]);
  expect((await history(system, bob, room)).map(({ content }) => content)).toEqual(["I am bob"]);
  second.client.close();

  const back = await system.connected(alice, { storage });
  await back.open(room);
  await waitUntil("all messages are stored", async () => (await storedTexts(alice, room)).length === 4);
  await back.outboxEmpty();
  expect(await storedTexts(alice, room)).toEqual(["I am bob", ...numberedTexts(3, "a")]);
  expect((await history(system, alice, room)).map(({ sender }) => sender.id)).toEqual([
    bob,
    alice,
    alice,
    alice,
  ]);
});

test("a change of user while offline sends nothing under the wrong name", async () => {
  const [alice, bob] = [system.name("alice"), system.name("bob")];
  const room = await system.room([alice, bob]);
  let who = alice;
  const person = await system.connected(alice, { token: () => system.stack.token(who) });
  await person.open(room);
  person.client.disconnect();
  person.client.room(room).send("by alice");
  who = bob;
  await person.client.connect();
  await person.waitUntilLive(room);
  await quietPeriod();
  expect(person.client.me.get()?.id).toBe(bob);
  expect(await storedTexts(bob, room)).toEqual([]);
  who = alice;
  person.client.disconnect();
  await person.client.connect();
  await waitUntil("the message is stored", async () => (await storedTexts(alice, room)).length === 1);
  expect((await history(system, alice, room)).map(({ sender, content }) => [sender.id, content])).toEqual([
    [alice, "by alice"],
  ]);
});
