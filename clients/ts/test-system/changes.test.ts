/** Changes of own messages and of messages of others, received live and after an absence. */

import { expect, test } from "vitest";
import { deleteMessage, editMessage, react, unreact } from "../src/changes.js";
import { messageVersions } from "../src/http.js";
import { expectAllEmitted, expectShownEqualsStored } from "./support/history.js";
import type { Person } from "./support/person.js";
import { System } from "./support/system.js";
import { waitUntil } from "./support/until.js";

const system = new System({ gateways: 2, proxied: true });

/** Three users in a room, on two gateways: alice owns the room, carol and dave are members. */
async function threeUsersInRoom(): Promise<{ alice: Person; carol: Person; dave: Person; room: string }> {
  const names = ["alice", "carol", "dave"].map((like) => system.name(like));
  const room = await system.room(names);
  const [alice, carol, dave] = await Promise.all(
    names.map(async (name, number) => {
      const person = await system.connected(name, { gateways: [number % 2], name: name.toUpperCase() });
      await person.open(room);
      return person;
    }),
  );
  return { alice, carol, dave, room } as { alice: Person; carol: Person; dave: Person; room: string };
}

async function expectShownEqualsStoredForAll(room: string, ...people: Person[]): Promise<void> {
  for (const person of people) {
    await expectShownEqualsStored(system, person, room);
    await expectAllEmitted(system, person, room);
  }
}

test("edits, deletes and reactions are shown to all, at once to their author", async () => {
  const { alice, carol, dave, room } = await threeUsersInRoom();
  const first = await alice.send(room, "first");
  const second = await carol.send(room, "second");
  const third = await dave.send(room, "third");
  const roomOf = (person: Person) => person.client.room(room);
  const [a, c, d] = [roomOf(alice), roomOf(carol), roomOf(dave)];
  await waitUntil("all clients have all messages", () =>
    [alice, carol, dave].every((person) => person.rows(room).length === 3),
  );

  await editMessage(a, first.seq ?? 0, "first, edited", { draft: 2 });
  expect(alice.row(room, 1)).toMatchObject({ content: "first, edited", metadata: { draft: 2 } });
  const reacting = react(c, first.seq ?? 0, "👍");
  expect(carol.row(room, 1)?.reactions).toMatchObject([{ emoji: "👍", count: 1, mine: true }]);
  await reacting;
  await react(d, 1, "👍");
  await react(d, 1, "🎉");
  await react(d, 1, "🎉");
  await unreact(d, 1, "👍");
  await deleteMessage(c, second.seq ?? 0);
  expect(carol.row(room, 2)).toMatchObject({ content: "", deleted: true });
  // The owner may change messages of others.
  await editMessage(a, third.seq ?? 0, "moderated");
  await deleteMessage(a, third.seq ?? 0);
  await expectShownEqualsStoredForAll(room, alice, carol, dave);
  expect(dave.row(room, 1)?.reactions).toEqual([
    { emoji: "👍", count: 1, mine: false, users: [carol.id] },
    { emoji: "🎉", count: 1, mine: true, users: [dave.id] },
  ]);
  await expect(editMessage(c, 2, "back to life")).rejects.toMatchObject({ code: "conflict" });
  await expect(editMessage(c, 1, "not mine")).rejects.toMatchObject({ code: "forbidden" });
  expect((await messageVersions(alice.client, room, 3)).map(({ content }) => content)).toEqual([
    "third",
    "moderated",
  ]);
  await expect(messageVersions(carol.client, room, 3)).rejects.toMatchObject({ code: "forbidden" });
});

test("a refused reaction is removed", async () => {
  const { alice, carol, room } = await threeUsersInRoom();
  await alice.send(room, "gone soon");
  await waitUntil("the message arrives", () => carol.rows(room).length === 1);
  await deleteMessage(alice.client.room(room), 1);
  await expect(react(carol.client.room(room), 1, "👎")).rejects.toMatchObject({ code: "conflict" });
  await waitUntil("the message is deleted", () => carol.row(room, 1)?.deleted === true);
  expect(carol.row(room, 1)?.reactions).toEqual([]);
  await expectShownEqualsStoredForAll(room, alice, carol);
});

test("a returning client shows changes that others made meanwhile", async () => {
  const { alice, carol, dave, room } = await threeUsersInRoom();
  for (let i = 1; i <= 6; i++) await dave.send(room, `m${i}`);
  await waitUntil("all clients have all messages", () =>
    [alice, carol].every((person) => person.rows(room).length === 6),
  );
  await system.stack.link("gateway", 0, "refuse");
  await system.stack.link("gateway", 0, "cut");
  await alice.waitForState("reconnecting");
  const c = carol.client.room(room);
  await react(c, 1, "👀");
  await react(c, 2, "👀");
  await unreact(c, 2, "👀");
  await system.http(dave.id, "PATCH", `/rooms/${room}/messages/3`, { content: "m3, edited twice" });
  const { seq = 0 } = await carol.send(room, "while you were away");
  await editMessage(c, seq, "while you were out");
  await react(c, seq, "🥐");
  // A change without a connection is sent after the reconnect.
  const mine = react(alice.client.room(room), 4, "late");
  expect(alice.row(room, 4)?.reactions).toMatchObject([{ emoji: "late", count: 1, mine: true }]);
  await system.stack.link("gateway", 0, "heal");
  await mine;
  await alice.waitUntilLive(room);
  await expectShownEqualsStoredForAll(room, alice, carol);
});

test("a private message is shown only to the users it names", async () => {
  const { alice, carol, dave, room } = await threeUsersInRoom();
  await alice.send(room, "for all");
  const privateMessage = carol.client
    .room(room)
    .send("for dave", { visibleTo: { users: [dave.id], roles: [] } });
  const { seq: privateSeq = 0 } = await carol.waitUntilSent(room, privateMessage.clientId);
  const owners = dave.client.room(room).send("for owners", { visibleTo: { users: [], roles: ["owner"] } });
  await dave.waitUntilSent(room, owners.clientId);
  await react(dave.client.room(room), privateSeq, "🤫");
  await alice.send(room, "for all again");
  await waitUntil("all messages arrive", () =>
    [alice, carol, dave].every((person) => person.texts(room).at(-1) === "for all again"),
  );
  expect(alice.texts(room)).toEqual(["for all", "for owners", "for all again"]);
  expect(carol.texts(room)).toEqual(["for all", "for dave", "for all again"]);
  expect(dave.texts(room)).toEqual(["for all", "for dave", "for owners", "for all again"]);
  expect(dave.row(room, 2)?.visibleTo).toEqual({ users: [dave.id], roles: [] });
  // A missing seq does not mean a lost message: the user may not see that message.
  await expectShownEqualsStoredForAll(room, alice, carol, dave);
  expect(JSON.stringify(alice.frames)).not.toContain("for dave");
});

test("kinds, replies, attachments and metadata arrive as they were sent", async () => {
  const { alice, carol, room } = await threeUsersInRoom();
  await alice.send(room, "question");
  const attachments = [{ name: "a.png", url: "https://example.com/a.png", mediaType: "image/png", size: 12 }];
  const sent = carol.client.room(room).send("", {
    kind: "answer",
    replyTo: 1,
    attachments,
    metadata: { deep: { er: [1, 2] } },
  });
  await carol.waitUntilSent(room, sent.clientId);
  await waitUntil("the message arrives", () => alice.rows(room).length === 2);
  for (const person of [alice, carol]) {
    expect(person.row(room, 2)).toMatchObject({
      kind: "answer",
      content: "",
      replyTo: 1,
      attachments,
      metadata: { deep: { er: [1, 2] } },
      sender: { id: carol.id, name: carol.id.toUpperCase() },
      mine: person === carol,
    });
  }
  await expectShownEqualsStoredForAll(room, alice, carol);
});

test("a change is applied once when the connection breaks during it", async () => {
  const { alice, carol, room } = await threeUsersInRoom();
  await alice.send(room, "v0");
  await waitUntil("the message arrives", () => carol.rows(room).length === 1);
  for (let i = 1; i <= 5; i++) {
    const changes = [
      editMessage(alice.client.room(room), 1, `v${i}`),
      react(alice.client.room(room), 1, `e${i}`),
    ];
    if (i % 2) await system.stack.link("gateway", 0, "cut");
    else await system.stack.link("gateway", 0, "reset");
    await Promise.all(changes);
  }
  await alice.waitUntilLive(room);
  await expectShownEqualsStoredForAll(room, alice, carol);
  expect(carol.row(room, 1)).toMatchObject({ content: "v5", reactions: { length: 5 } });
  expect((await messageVersions(alice.client, room, 1)).map(({ content }) => content)).toEqual([
    "v0",
    "v1",
    "v2",
    "v3",
    "v4",
    "v5",
  ]);
});
