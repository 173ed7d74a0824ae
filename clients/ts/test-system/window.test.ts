/** The window of a room: the newest hundred messages, and the older ones that were loaded. */

import { expect, test } from "vitest";
import { messagesAround } from "../src/http.js";
import { Device } from "./support/device.js";
import { expectShownEqualsStored, history } from "./support/history.js";
import { System } from "./support/system.js";
import { waitUntil } from "./support/until.js";

const system = new System();

test("at most 100 messages are held; older ones load page by page, and trim drops them", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await system.posts(bob, room, 60);
  await alice.open(room);
  const list = () => alice.client.room(room).messages.get();
  expect(list()).toMatchObject({ hasOlder: true, loadingOlder: false });
  const first = list().items.length;
  expect(first).toBeLessThanOrEqual(60);
  await system.posts(bob, room, 110, "live");
  await waitUntil("all live messages arrive", () => list().items.at(-1)?.content === "live110");
  expect(list()).toMatchObject({ items: { length: 100 }, hasOlder: true });
  await expectShownEqualsStored(system, alice, room);

  const sizes: number[] = [];
  while (await alice.client.room(room).loadOlder(30)) sizes.push(list().items.length);
  expect(sizes.slice(0, 2)).toEqual([130, 160]);
  expect(list()).toMatchObject({ items: { length: 170 }, hasOlder: false, loadingOlder: false });
  expect(await alice.client.room(room).loadOlder()).toBe(false);
  await expectShownEqualsStored(system, alice, room);

  // New messages do not shrink the window until it is trimmed.
  await system.post(bob, room, "one more");
  await waitUntil("the message arrives", () => list().items.length === 171);
  alice.client.room(room).trim();
  expect(list()).toMatchObject({ items: { length: 100 }, hasOlder: true });
  await expectShownEqualsStored(system, alice, room);
});

test("events during the read of older messages are not lost", async () => {
  const alice = await system.connected(system.name("alice"), { windowSize: 20 });
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await system.posts(bob, room, 60);
  await alice.open(room);
  expect(alice.rows(room)).toHaveLength(20);
  const changing = (async () => {
    for (let seq = 41; seq > 1; seq -= 4) {
      await system.http(bob, "PATCH", `/rooms/${room}/messages/${seq}`, { content: `edited ${seq}` });
      await system.http(bob, "PUT", `/rooms/${room}/messages/${seq - 1}/reactions/🎉`);
      await system.post(bob, room, `after ${seq}`);
    }
  })();
  while (await alice.client.room(room).loadOlder(8));
  await changing;
  await expectShownEqualsStored(system, alice, room);
  expect(alice.client.room(room).messages.get().hasOlder).toBe(false);
});

test("a slow page of older messages leaves no hole", async () => {
  let pageDelay: Promise<unknown> = Promise.resolve();
  const alice = await system.connected(system.name("alice"), {
    windowSize: 20,
    fetch: async (input, init) => {
      if (String(input).includes("before=")) await pageDelay;
      return fetch(input, init);
    },
  });
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await system.posts(bob, room, 60);
  await alice.open(room);
  let releasePage = () => {};
  pageDelay = new Promise<void>((resolve) => {
    releasePage = resolve;
  });
  const older = alice.client.room(room).loadOlder(10);
  await system.posts(bob, room, 30, "live");
  await waitUntil("the messages arrive", () => alice.texts(room).at(-1) === "live30");
  releasePage();
  await older;
  await expectShownEqualsStored(system, alice, room);

  pageDelay = new Promise<void>((resolve) => {
    releasePage = resolve;
  });
  const again = alice.client.room(room).loadOlder(10);
  alice.client.room(room).trim();
  releasePage();
  await again;
  await expectShownEqualsStored(system, alice, room);
});

test("concurrent requests for older messages share one page, and a failed one can be repeated", async () => {
  let broken = false;
  const alice = await system.connected(system.name("alice"), {
    windowSize: 20,
    fetch: (input, init) => (broken ? Promise.reject(new TypeError("no network")) : fetch(input, init)),
  });
  const room = await system.room([alice.id]);
  await system.posts(alice.id, room, 50);
  await alice.open(room);
  const opened = alice.client.room(room);
  broken = true;
  await expect(opened.loadOlder(10)).rejects.toMatchObject({ code: "network" });
  expect(opened.messages.get()).toMatchObject({ loadingOlder: false, error: { code: "network" } });
  broken = false;
  await Promise.all([opened.loadOlder(10), opened.loadOlder(10)]);
  expect(opened.messages.get().items).toHaveLength(30);
  expect(opened.messages.get().error).toBeUndefined();
  await expectShownEqualsStored(system, alice, room);
});

test("messages around a position are read without changing the list", async () => {
  const alice = await system.connected(system.name("alice"), { windowSize: 20 });
  const room = await system.room([alice.id]);
  await system.posts(alice.id, room, 60);
  await alice.open(room);
  const around = await messagesAround(alice.client, room, 15, 9);
  const stored = await history(system, alice.id, room);
  expect(around.map(({ seq }) => seq)).toContain(15);
  const from = stored.findIndex(({ seq }) => seq === around[0]?.seq);
  expect(around.map(({ content }) => content)).toEqual(
    stored.slice(from, from + around.length).map(({ content }) => content),
  );
  expect(around.length).toBeLessThanOrEqual(9);
  expect(alice.rows(room)).toHaveLength(20);
});

test("a reopened room is complete, and a closed room holds no messages", async () => {
  // The clock is five times as fast, because a room is closed only after seconds.
  const alice = await system.connected(system.name("alice"), new Device(5).options);
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await system.posts(bob, room, 5);
  await alice.open(room);
  alice.close(room);
  await system.posts(bob, room, 5, "meanwhile");
  await alice.open(room);
  await expectShownEqualsStored(system, alice, room);
  alice.close(room);
  await waitUntil("the rows are dropped", () => alice.rows(room).length === 0);
  expect(alice.client.room(room).state.get().phase).toBe("closed");
  await system.posts(bob, room, 5, "unseen");
  await waitUntil(
    "the list shows the last message",
    () => alice.listed(room)?.lastMessage?.content === "unseen5",
  );
  await alice.open(room);
  await expectShownEqualsStored(system, alice, room);
  expect(alice.rows(room)).toHaveLength(15);
});
