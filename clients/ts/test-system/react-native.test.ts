/** The kit without a page or a browser, as in an app of React Native. */
import "./support/react-native.js";
import { expect, test } from "vitest";
import { editMessage, react } from "../src/changes.js";
import { asyncStorage } from "../src/storage.js";
import { lifecycle } from "../test/support/lifecycle.js";
import { waitUntilPersisted } from "./support/entries.js";
import { expectAllEmitted, expectShownEqualsStored, history } from "./support/history.js";
import { System } from "./support/system.js";
import { sleep, waitUntil } from "./support/until.js";

const system = new System({ gateways: 2, proxied: true });

/** The storage of an app, which survives the app. */
function appStorage() {
  const values = new Map<string, string>();
  const delayed = async <T>(value: T): Promise<T> => {
    await sleep(2);
    return value;
  };
  return asyncStorage({
    getItem: (key) => delayed(values.get(key) ?? null),
    setItem: async (key, value) => void values.set(await delayed(key), value),
    removeItem: async (key) => void values.delete(await delayed(key)),
    getAllKeys: () => delayed([...values.keys()]),
  });
}

test("the kit works without any API of a page", async () => {
  expect([typeof window, typeof document, typeof localStorage, typeof crypto, typeof navigator]).toEqual(
    Array(5).fill("undefined"),
  );
  // The client gets no WebSocket, fetch or lifecycle as options.
  const alice = await system.connected(system.name("alice"), { WebSocket: undefined });
  const room = await system.room([alice.id]);
  await alice.open(room);
  const { seq = 0 } = await alice.send(room, "hello");
  await react(alice.client.room(room), seq, "👋");
  await editMessage(alice.client.room(room), seq, "hello, phone");
  await expectShownEqualsStored(system, alice, room);
  expect(alice.client.connection.get().transport).toBe("websocket");
});

test("broken connections are resumed", async () => {
  const alice = await system.connected(system.name("alice"), { WebSocket: undefined });
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  for (const fault of ["cut", "reset", "cut"] as const) {
    const statesBefore = alice.states.length;
    for (let i = 0; i < 5; i++) {
      alice.client.room(room).send(`${fault} ${i}`);
      await system.post(bob, room, `${fault} of bob ${i}`);
      if (i === 2) for (const number of [0, 1]) await system.stack.link("gateway", number, fault);
    }
    await waitUntil("the client detects the failure", () => alice.states.length > statesBefore);
    await alice.waitForState("connected");
  }
  await alice.outboxEmpty();
  await expectShownEqualsStored(system, alice, room);
  await expectAllEmitted(system, alice, room);
});

test("messages in an AsyncStorage survive a restart of the app and are sent once", async () => {
  const id = system.name("alice");
  const room = await system.room([id]);
  const storage = appStorage();
  const appState = lifecycle();
  const before = await system.connected(id, { WebSocket: undefined, storage, lifecycle: appState });
  await before.open(room);
  await before.send(room, "first");
  await before.outboxEmpty();
  for (const number of [0, 1]) {
    await system.stack.link("gateway", number, "refuse");
    await system.stack.link("gateway", number, "cut");
  }
  await before.waitForState("reconnecting");
  for (let i = 1; i <= 5; i++) before.client.room(room).send(`offline ${i}`);
  await waitUntilPersisted(storage, 5);
  appState.emit("hide");
  before.client.close();
  await system.heal();
  const after = await system.connected(id, { WebSocket: undefined, storage, lifecycle: lifecycle() });
  await after.open(room);
  await waitUntil("all messages are stored", async () => (await history(system, id, room)).length === 6);
  await after.outboxEmpty();
  expect(after.texts(room)).toEqual(["first", ...[1, 2, 3, 4, 5].map((i) => `offline ${i}`)]);
  await expectShownEqualsStored(system, after, room);
});

test("polls work without a page", async () => {
  const alice = await system.connected(system.name("alice"), { transport: "poll" });
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await alice.open(room);
  await alice.send(room, "hello");
  await system.post(bob, room, "hello, alice");
  await waitUntil("the message arrives", () => alice.rows(room).length === 2);
  await expectShownEqualsStored(system, alice, room);
});
