/** Unread counts, read marks and receipts. */

import { expect, test } from "vitest";
import { receipts } from "../src/live.js";
import { Device } from "./support/device.js";
import { System } from "./support/system.js";
import { sleep, waitUntil } from "./support/until.js";

const system = new System({ gateways: 2, proxied: true });

test("messages of others are unread until marked, on every connection of the user", async () => {
  const id = system.name("alice");
  const [phone, laptop] = [
    await system.connected(id, { gateways: [0] }),
    await system.connected(id, { gateways: [1] }),
  ];
  const bob = system.name("bob");
  const room = await system.room([id, bob]);
  for (let i = 1; i <= 3; i++) await system.post(bob, room, `m${i}`);
  await phone.open(room);
  for (const device of [phone, laptop])
    await waitUntil("three messages are unread", () => device.listed(room)?.unread === 3);
  // Own messages are not unread.
  await phone.send(room, "my own");
  await waitUntil("the change arrives", () => laptop.listed(room)?.lastMessage?.content === "my own");
  expect([phone, laptop].map((device) => device.listed(room)?.unread)).toEqual([3, 3]);
  phone.client.room(room).markRead(2);
  expect(phone.listed(room)?.readSeq).toBe(2);
  await waitUntil("one message is unread", () => phone.listed(room)?.unread === 1);
  await waitUntil("the other device shows the mark", () => laptop.listed(room)?.unread === 1);
  expect(laptop.listed(room)?.readSeq).toBe(2);
  // The mark never moves back.
  laptop.client.room(room).markRead(1);
  laptop.client.room(room).markRead(4);
  for (const device of [phone, laptop])
    await waitUntil("nothing is unread", () => device.listed(room)?.unread === 0);
  await system.post(bob, room, "news");
  for (const device of [phone, laptop])
    await waitUntil("one is unread", () => device.listed(room)?.unread === 1);
  const stored = await system.http<{ unread: number; read_seq: number }>(id, "GET", `/rooms/${room}`);
  expect(stored).toMatchObject({ unread: 1, read_seq: 4 });
});

test("the unread count is correct after an absence, and an offline mark is sent", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const [open, closed] = [await system.room([alice.id, bob]), await system.room([alice.id, bob])];
  await alice.open(open);
  await system.post(bob, open, "m1");
  await waitUntil("the message arrives", () => alice.rows(open).length === 1);
  alice.client.disconnect();
  alice.client.room(open).markRead(1);
  expect(alice.listed(open)?.unread).toBe(0);
  for (const room of [open, closed]) for (let i = 1; i <= 4; i++) await system.post(bob, room, `away ${i}`);
  await alice.client.connect();
  for (const room of [open, closed]) {
    await waitUntil("four messages are unread", () => expect(alice.listed(room)?.unread).toBe(4));
  }
  await waitUntil("the mark is stored", async () => {
    const { read_seq } = await system.http<{ read_seq: number }>(alice.id, "GET", `/rooms/${open}`);
    return read_seq === 1;
  });
  // A deleted message is no longer unread, even if the list counted it.
  await system.http(bob, "DELETE", `/rooms/${closed}/messages/4`);
  const { unread } = await system.http<{ unread: number }>(alice.id, "GET", `/rooms/${closed}`);
  await alice.client.rooms.reload();
  await waitUntil("the list shows the same count", () => alice.listed(closed)?.unread === unread);
});

test("a mark survives broken connections, and many marks are combined", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const room = await system.room([alice.id, bob]);
  await system.posts(bob, room, 30);
  await alice.open(room);
  for (let seq = 1; seq <= 30; seq++) {
    alice.client.room(room).markRead(seq);
    if (seq === 15) await system.stack.link("gateway", 0, "cut");
    if (seq === 20) await system.stack.link("gateway", 1, "cut");
  }
  await waitUntil("the mark is stored", async () => {
    const { read_seq } = await system.http<{ read_seq: number }>(alice.id, "GET", `/rooms/${room}`);
    return read_seq === 30;
  });
  expect(alice.listed(room)).toMatchObject({ unread: 0, readSeq: 30 });
});

test("receipts show the read and delivered marks of others", async () => {
  // The clock is four times as fast, because the kit gathers delivered marks before it sends them.
  const device = new Device(4);
  const alice = await system.connected(system.name("alice"), device.options);
  const carol = await system.connected(system.name("carol"), device.options);
  const room = await system.room([alice.id, carol.id]);
  await Promise.all([alice.open(room), carol.open(room)]);
  const receiptOf = (user: string) => receipts(alice.client.room(room)).get().get(user);
  await alice.send(room, "one");
  await alice.send(room, "two");
  // The kit sends delivered marks by itself. The app decides about read marks.
  await waitUntil("the delivered mark arrives", () => receiptOf(carol.id)?.deliveredSeq === 2);
  expect(receiptOf(carol.id)?.readSeq).toBe(0);
  carol.client.room(room).markRead(1);
  await waitUntil("she has read one", () => receiptOf(carol.id)?.readSeq === 1);
  carol.client.disconnect();
  await alice.send(room, "three");
  // Waits longer than the kit and the gateway delay marks. A delivered mark that was sent by mistake would arrive in
  // this time.
  await sleep(800);
  expect(receiptOf(carol.id)).toEqual({ readSeq: 1, deliveredSeq: 2 });
  await carol.client.connect();
  await waitUntil(
    "the delivered mark of the third message arrives",
    () => receiptOf(carol.id)?.deliveredSeq === 3,
  );
  // A client that was away reads the receipts over HTTP.
  alice.client.disconnect();
  carol.client.room(room).markRead(3);
  await waitUntil("the mark is stored", async () => {
    const { read_seq } = await system.http<{ read_seq: number }>(carol.id, "GET", `/rooms/${room}`);
    return read_seq === 3;
  });
  await alice.client.connect();
  await waitUntil("the change arrives", () => receiptOf(carol.id)?.readSeq === 3);
});
