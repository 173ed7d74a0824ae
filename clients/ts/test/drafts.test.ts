import { expect, test } from "vitest";
import { draft } from "../src/drafts.js";
import type { StorageAdapter, VisibleTo } from "../src/index.js";
import { settle } from "../src/testing.js";
import { sentMessages, World } from "./support/world.js";

/** A storage that tabs share as localStorage does: each tab is notified of the writes of the others. */
function sharedStorage(slow = false) {
  const entries = new Map<string, string>();
  const listeners = new Map<object, (key: string | null) => void>();
  const tab = (): StorageAdapter => {
    const self = {};
    const notifyOthers = (key: string) => {
      for (const [of, listener] of listeners) if (of !== self) listener(key);
    };
    const maybeAsync = <T>(value: T) => (slow ? Promise.resolve(value) : value);
    return {
      getItem: (key) => maybeAsync(entries.get(key) ?? null),
      setItem: (key, value) => {
        entries.set(key, value);
        notifyOthers(key);
        return maybeAsync(undefined);
      },
      removeItem: (key) => {
        entries.delete(key);
        notifyOthers(key);
        return maybeAsync(undefined);
      },
      keys: () => [...entries.keys()],
      subscribe: (listener) => {
        listeners.set(self, listener);
        return () => void listeners.delete(self);
      },
    };
  };
  const draftKeys = () => [...entries.keys()].filter((key) => key.includes("/draft/"));
  return { tab, draftKeys, listeners, entries };
}

const toBob: VisibleTo = { users: ["bob"], roles: [] };
const attachment = { name: "a", url: "https://files/a", mediaType: "image/png", size: 1 };

/** Connects a client and opens a room. Returns both, and the draft of the room. */
async function openDraft(world: World, storage?: StorageAdapter, user = "alice") {
  const { client, room } = await world.opened({ storage, user });
  return { client, room, draft: draft(room) };
}

test.each([false, true])("a draft survives a reload as a whole (slow storage: %s)", async (slow) => {
  const world = new World();
  const shared = sharedStorage(slow);
  const before = await openDraft(world, shared.tab());
  before.draft.set({ content: "for bob only", replyTo: 7, visibleTo: toBob, attachments: [attachment] });
  await settle();
  before.client.close();
  const after = await openDraft(world, shared.tab());
  await settle();
  expect(after.draft.get()).toEqual({
    content: "for bob only",
    replyTo: 7,
    visibleTo: toBob,
    attachments: [attachment],
    audienceChosen: true,
  });
  expect(draft(after.room)).toBe(after.draft);
  expect(draft(after.client.room("other")).get().content).toBe("");
});

test("tabs share a draft, and a send clears it in all of them", async () => {
  const world = new World();
  const shared = sharedStorage(true);
  const [one, two] = [await openDraft(world, shared.tab()), await openDraft(world, shared.tab())];
  const seenContents: string[] = [];
  const unsubscribe = two.draft.subscribe(() => seenContents.push(two.draft.get().content));
  one.draft.set({ content: "a" });
  one.draft.set({ content: "ab", replyTo: 1 });
  await settle();
  expect(two.draft.get()).toMatchObject({ content: "ab", replyTo: 1 });
  one.draft.send();
  await settle();
  expect(two.draft.get()).toEqual({ content: "", attachments: [], audienceChosen: false });
  expect(shared.draftKeys()).toEqual([]);
  await world.clock.pass(1_000);
  expect(sentMessages(world)).toEqual([expect.objectContaining({ content: "ab", reply_to: 1 })]);
  unsubscribe();
  one.draft.set({ content: "unheard" });
  await settle();
  expect(seenContents.at(-1)).toBe("");
  // The next subscriber gets the missed change.
  two.draft.subscribe(() => {})();
  await settle();
  expect(two.draft.get().content).toBe("unheard");
});

test("nobody listens to the storage for a draft that nobody shows", async () => {
  const world = new World();
  const shared = sharedStorage();
  const { client, draft: one } = await openDraft(world, shared.tab());
  client.close();
  const unsubscribe = one.subscribe(() => {});
  expect(shared.listeners.size).toBe(1);
  unsubscribe();
  expect(shared.listeners.size).toBe(0);
});

/** A room with a private message of bob to alice and carol. */
async function withPrivateMessage() {
  const world = new World();
  world.server.appendMessage("public");
  world.server.append("r", {
    type: "message:new",
    id: "m2-r",
    client_id: "p",
    sender: { id: "bob" },
    kind: "text",
    content: "secret",
    visible_to: { users: ["alice", "carol"], roles: [] },
  });
  const shared = sharedStorage();
  const opened = await openDraft(world, shared.tab());
  const [publicMessage, secret] = opened.room.messages.get().items;
  if (!publicMessage || !secret) throw new Error("no messages");
  return { world, publicMessage, secret, shared, ...opened };
}

const replyAudience: VisibleTo = { users: ["carol", "bob"], roles: [] };

test("a reply to a private message goes to those who see that message", async () => {
  const { world, secret, draft: mine } = await withPrivateMessage();
  mine.set({ content: "I know" });
  mine.reply(secret);
  expect(mine.get()).toMatchObject({ content: "I know", replyTo: 2, visibleTo: replyAudience });
  mine.send();
  // The audience came from the reply, so the next draft does not keep it.
  expect(mine.get().visibleTo).toBeUndefined();
  await world.clock.pass(1_000);
  expect(sentMessages(world)).toEqual([expect.objectContaining({ reply_to: 2, visible_to: replyAudience })]);
});

test("the audience of a reply stays through a reload", async () => {
  const { world, secret, shared, client, draft: mine } = await withPrivateMessage();
  mine.set({ content: "I know" });
  mine.reply(secret);
  client.close();
  const after = await openDraft(world, shared.tab());
  after.draft.send();
  await world.clock.pass(1_000);
  expect(sentMessages(world)).toEqual([expect.objectContaining({ visible_to: replyAudience })]);
});

test("the user may choose another audience for a reply", async () => {
  const { world, secret, draft: mine } = await withPrivateMessage();
  mine.set({ content: "everyone may know" });
  mine.reply(secret);
  mine.set({ visibleTo: undefined });
  mine.send();
  await world.clock.pass(1_000);
  expect(sentMessages(world)[0]).toMatchObject({ reply_to: 2 });
  expect(sentMessages(world)[0]).not.toHaveProperty("visible_to");
});

test("a draft does not become public by a reply to a public message", async () => {
  const { publicMessage, secret, draft: mine } = await withPrivateMessage();
  mine.reply(secret);
  mine.reply(publicMessage);
  expect(mine.get()).toMatchObject({ replyTo: 1, visibleTo: replyAudience });
});

test("a chosen audience stays for the next message", async () => {
  const { world, draft: mine } = await withPrivateMessage();
  mine.set({ content: "one", visibleTo: toBob });
  mine.send();
  expect(mine.get()).toMatchObject({ content: "", visibleTo: toBob });
  mine.set({ content: "two" });
  mine.send();
  await world.clock.pass(1_000);
  expect(sentMessages(world).map((frame) => frame.visible_to)).toEqual([toBob, toBob]);
  mine.clear();
  expect(mine.get().visibleTo).toBeUndefined();
});

test.each([
  ["no audience", {}, replyAudience],
  ["its own audience", { visibleTo: toBob }, toBob],
  ["everyone", { visibleTo: "everyone" as const }, undefined],
])("room.send of a reply with %s", async (_, options, expected) => {
  const { world, room } = await withPrivateMessage();
  const row = room.send("reply", { replyTo: 2, ...options });
  expect(row.visibleTo).toEqual(expected);
  await world.clock.pass(1_000);
  expect(sentMessages(world)[0]?.visible_to).toEqual(expected);
});

test("a draft that cannot be sent stays", async () => {
  const world = new World();
  const client = world.client({ outboxLimit: 1 });
  client.room("r").send("waits");
  const mine = draft(client.room("r"));
  mine.set({ content: "too much" });
  expect(() => mine.send()).toThrow("The outbox is full");
  expect(mine.get().content).toBe("too much");
});

test("another user on the device does not see the draft", async () => {
  const world = new World();
  const shared = sharedStorage();
  const alice = await openDraft(world, shared.tab());
  alice.draft.set({ content: "hers" });
  alice.client.close();
  const client = world.client({ storage: shared.tab(), user: "bob" });
  const theirs = draft(client.room("r"));
  expect(theirs.get().content).toBe("hers");
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  expect(theirs.get().content).toBe("");
});

test("a storage that fails or holds damaged drafts costs no draft", async () => {
  const world = new World();
  const shared = sharedStorage();
  const tab = shared.tab();
  shared.entries.set("tidings/default/draft/r", "{");
  const { draft: mine } = await openDraft(world, {
    ...tab,
    setItem: (key, value) => {
      if (key.includes("draft")) throw new Error("full");
      return tab.setItem(key, value);
    },
  });
  mine.set({ content: "kept in memory" });
  await settle();
  expect(mine.get().content).toBe("kept in memory");
  expect(world.errors.length).toBe(1);
});
