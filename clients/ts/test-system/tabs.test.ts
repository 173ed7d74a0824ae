/** Several tabs, or several people, on one storage: each message is sent once, by whom it belongs to. */
import { expect, test } from "vitest";
import { customStorage, type KeptStorage, memoryStorage } from "../src/storage.js";
import { Device } from "./support/device.js";
import { expectWhole, history } from "./support/history.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({
  gateways: 2,
  gatewayEnv: { TIDINGS_MESSAGES_PER_SECOND: 10_000, TIDINGS_MESSAGES_BURST: 10_000 },
});

const nowhere = "http://127.0.0.1:1";
const numbered = (count: number, text: string) => Array.from({ length: count }, (_, i) => `${text}${i + 1}`);
const said = async (user: string, room: string) =>
  (await history(system, user, room)).map(({ content }) => content);

/** A storage that, as that of a browser, takes its time and tells the other tabs what was changed. */
function sharedStorage(): () => KeptStorage {
  const kept = memoryStorage();
  const tabs = new Set<(key: string) => void>();
  return () => {
    let own: ((key: string) => void) | undefined;
    const tell = (key: string) => {
      for (const tab of tabs) if (tab !== own) setTimeout(() => tab(key), 1);
    };
    const slowly = async <T>(work: () => T): Promise<T> => {
      await rest(1);
      return work();
    };
    return customStorage({
      getItem: (key) => slowly(() => kept.getItem(key) as string | null),
      setItem: (key, value) => slowly(() => kept.setItem(key, value)).then(() => tell(key)),
      removeItem: (key) => slowly(() => kept.removeItem(key)).then(() => tell(key)),
      keys: () => slowly(() => kept.keys?.() as string[]),
      subscribe: (listener) => {
        own = listener;
        tabs.add(listener);
        return () => void tabs.delete(listener);
      },
    });
  };
}

/** Lets the storage know whose it is, as any earlier visit does. */
async function visited(id: string, storage: KeptStorage): Promise<void> {
  const person = await system.connected(id, { storage });
  await until("the storage knows whose it is", async () =>
    (await storage.keys?.())?.some((key) => key.endsWith("/user")),
  );
  person.client.close();
}

test("two tabs with one storage send each message once, and each shows all of them", async () => {
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
    if (i % 5 === 0) await rest(20);
  }
  for (const tab of tabs) await tab.emptied();
  const all = await said(id, room);
  expect(all).toHaveLength(40);
  for (const number of [0, 1]) {
    expect(all.filter((text) => text.startsWith(`t${number}`))).toEqual(numbered(20, `t${number}-`));
  }
  for (const tab of tabs) await expectWhole(system, tab, room);
});

test("what a tab has is not sent by another one while it lives, and is once it is closed", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = sharedStorage();
  await visited(id, storage());
  const offline = system.person(id, { storage: storage(), url: nowhere });
  void offline.client.connect().catch(() => undefined);
  await offline.becomes("reconnecting");
  for (const text of numbered(5, "m")) offline.client.room(room).send(text);
  await rest(200);
  const other = await system.connected(id, { storage: storage() });
  await other.open(room);
  await other.say(room, "mine");
  await rest(1000);
  expect(await said(id, room)).toEqual(["mine"]);
  offline.client.close();
  await until("all is there", async () => (await said(id, room)).length === 6);
  await other.emptied();
  expect(await said(id, room)).toEqual(["mine", ...numbered(5, "m")]);
  await expectWhole(system, other, room);
});

test("what a tab that died without a word has left is taken over by the others, each message by one alone", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = sharedStorage();
  await visited(id, storage());
  // Ten times as fast, for it takes a while to be taken for dead.
  const clock = { speed: 10, origin: Date.now() };
  const device = () => new Device(clock.speed, clock.origin);
  const dying = device();
  const dead = system.person(id, { ...dying.options, storage: storage(), url: nowhere });
  void dead.client.connect().catch(() => undefined);
  await dead.becomes("reconnecting");
  for (const text of numbered(8, "m")) dead.client.room(room).send(text);
  await rest(200);
  dying.die();
  const heirs = await Promise.all(
    [1, 2, 3].map(() => system.connected(id, { ...device().options, storage: storage() })),
  );
  await until("all is there", async () => (await said(id, room)).length >= 8);
  await rest(500);
  // Each heir brings what it took in order; who of them is first nobody promises.
  expect((await said(id, room)).sort()).toEqual(numbered(8, "m"));
  for (const heir of heirs) await heir.emptied();
});

test("messages of one user are not sent by another one on the same device, and go out when the first is back", async () => {
  const [alice, bob] = [system.name("alice"), system.name("bob")];
  const room = await system.room([alice, bob]);
  const storage = memoryStorage();
  await visited(alice, storage);
  const offline = system.person(alice, { storage, url: nowhere });
  void offline.client.connect().catch(() => undefined);
  await offline.becomes("reconnecting");
  for (const text of numbered(3, "a")) offline.client.room(room).send(text);
  await rest(100);
  offline.client.close();

  const second = await system.connected(bob, { storage });
  await second.open(room);
  await second.say(room, "I am bob");
  await rest(500);
  expect(second.client.outbox.get()).toEqual([]);
  expect((await history(system, bob, room)).map(({ content }) => content)).toEqual(["I am bob"]);
  second.client.close();

  const back = await system.connected(alice, { storage });
  await back.open(room);
  await until("all is there", async () => (await said(alice, room)).length === 4);
  await back.emptied();
  expect(await said(alice, room)).toEqual(["I am bob", ...numbered(3, "a")]);
  expect((await history(system, alice, room)).map(({ sender }) => sender.id)).toEqual([
    bob,
    alice,
    alice,
    alice,
  ]);
});

test("the user of a client changes while it is offline: nothing is sent under the wrong name", async () => {
  const [alice, bob] = [system.name("alice"), system.name("bob")];
  const room = await system.room([alice, bob]);
  let who = alice;
  const person = await system.connected(alice, { token: () => system.stack.token(who) });
  await person.open(room);
  person.client.disconnect();
  person.client.room(room).send("by alice");
  who = bob;
  await person.client.connect();
  await person.live(room);
  await rest(500);
  expect(person.client.me.get()?.id).toBe(bob);
  expect(await said(bob, room)).toEqual([]);
  who = alice;
  person.client.disconnect();
  await person.client.connect();
  await until("it is sent", async () => (await said(alice, room)).length === 1);
  expect((await history(system, alice, room)).map(({ sender, content }) => [sender.id, content])).toEqual([
    [alice, "by alice"],
  ]);
});
