/** What is unread, how far it is read, and by whom. */

import { expect, test } from "vitest";
import { receipts } from "../src/live.js";
import { System } from "./support/system.js";
import { rest, until } from "./support/until.js";

const system = new System({ gateways: 2, proxied: true });

test("others' messages are unread until they are marked, on every connection of the user", async () => {
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
    await until("three are unread", () => device.listed(room)?.unread === 3);
  // What one says oneself is no news.
  await phone.say(room, "my own");
  await until("it is known", () => laptop.listed(room)?.lastMessage?.content === "my own");
  expect([phone, laptop].map((device) => device.listed(room)?.unread)).toEqual([3, 3]);
  phone.client.room(room).markRead(2);
  expect(phone.listed(room)?.readSeq).toBe(2);
  await until("one is left", () => phone.listed(room)?.unread === 1);
  await until("the other device knows", () => laptop.listed(room)?.unread === 1);
  expect(laptop.listed(room)?.readSeq).toBe(2);
  // Never back.
  laptop.client.room(room).markRead(1);
  laptop.client.room(room).markRead(4);
  for (const device of [phone, laptop])
    await until("nothing is unread", () => device.listed(room)?.unread === 0);
  await system.post(bob, room, "news");
  for (const device of [phone, laptop]) await until("one is unread", () => device.listed(room)?.unread === 1);
  const stored = await system.http<{ unread: number; read_seq: number }>(id, "GET", `/rooms/${room}`);
  expect(stored).toMatchObject({ unread: 1, read_seq: 4 });
});

test("what is unread is right after having been away, and a mark that was made offline is brought", async () => {
  const alice = await system.connected(system.name("alice"));
  const bob = system.name("bob");
  const [open, closed] = [await system.room([alice.id, bob]), await system.room([alice.id, bob])];
  await alice.open(open);
  await system.post(bob, open, "m1");
  await until("it is there", () => alice.rows(open).length === 1);
  alice.client.disconnect();
  alice.client.room(open).markRead(1);
  expect(alice.listed(open)?.unread).toBe(0);
  for (const room of [open, closed]) for (let i = 1; i <= 4; i++) await system.post(bob, room, `away ${i}`);
  await alice.client.connect();
  for (const room of [open, closed]) {
    await until("four are unread", () => expect(alice.listed(room)?.unread).toBe(4));
  }
  await until("the mark is stored", async () => {
    const { read_seq } = await system.http<{ read_seq: number }>(alice.id, "GET", `/rooms/${open}`);
    return read_seq === 1;
  });
  // What is deleted is not unread any more, whatever the list was told before.
  await system.http(bob, "DELETE", `/rooms/${closed}/messages/4`);
  const { unread } = await system.http<{ unread: number }>(alice.id, "GET", `/rooms/${closed}`);
  await alice.client.rooms.reload();
  await until("the list agrees", () => alice.listed(closed)?.unread === unread);
});

test("a mark is brought through broken lines, and many at once go out as few", async () => {
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
  await until("it is stored", async () => {
    const { read_seq } = await system.http<{ read_seq: number }>(alice.id, "GET", `/rooms/${room}`);
    return read_seq === 30;
  });
  expect(alice.listed(room)).toMatchObject({ unread: 0, readSeq: 30 });
});

test("receipts tell how far others have read, and what has reached them", async () => {
  const alice = await system.connected(system.name("alice"));
  const carol = await system.connected(system.name("carol"));
  const room = await system.room([alice.id, carol.id]);
  await Promise.all([alice.open(room), carol.open(room)]);
  const of = (user: string) => receipts(alice.client.room(room)).get().get(user);
  await alice.say(room, "one");
  await alice.say(room, "two");
  // Delivered is told by the kit itself, read is not.
  await until("it has reached her", () => of(carol.id)?.deliveredSeq === 2);
  expect(of(carol.id)?.readSeq).toBe(0);
  carol.client.room(room).markRead(1);
  await until("she has read one", () => of(carol.id)?.readSeq === 1);
  carol.client.disconnect();
  await alice.say(room, "three");
  await rest(1200);
  expect(of(carol.id)).toEqual({ readSeq: 1, deliveredSeq: 2 });
  await carol.client.connect();
  await until("the third has reached her, too", () => of(carol.id)?.deliveredSeq === 3);
  // Who was not there to hear it reads it.
  alice.client.disconnect();
  carol.client.room(room).markRead(3);
  await until("it is stored", async () => {
    const { read_seq } = await system.http<{ read_seq: number }>(carol.id, "GET", `/rooms/${room}`);
    return read_seq === 3;
  });
  await alice.client.connect();
  await until("it is known", () => of(carol.id)?.readSeq === 3);
});
