// The cache of rooms, members and messages: shown without a connection, resumed by cursor, bounded, private.
import { expect, test, vi } from "vitest";
import { editMessage } from "../src/changes.js";
import { draft } from "../src/drafts.js";
import type { StorageAdapter, TidingsClient } from "../src/index.js";
import { members } from "../src/live.js";
import { keepOffline, type OfflineOptions, onSignOut, signOut } from "../src/offline.js";
import { memoryStorage } from "../src/storage.js";
import { settle } from "../src/testing.js";
import { type Options, World } from "./support/world.js";

interface Page extends Options {
  readonly storage: StorageAdapter;
  readonly limits?: OfflineOptions;
}

/** Makes a client with a cache and connects it. */
async function openPage(world: World, { limits, ...options }: Page): Promise<TidingsClient> {
  const client = world.client({ account: "alice", ...options });
  keepOffline(client, limits);
  client.connect().catch(() => {});
  await world.clock.pass(1_000);
  return client;
}

/** A storage with the room `r` as alice has seen it: `count` messages of bob. */
async function visited(count = 3, limits: OfflineOptions = {}) {
  const world = new World();
  const storage = memoryStorage();
  for (let at = 1; at <= count; at++) world.server.appendMessage(`message ${at}`);
  const client = await openPage(world, { storage, limits });
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  await Promise.all([members(room).load(), world.clock.pass(1_000)]);
  await world.clock.pass(5_000);
  client.close();
  await world.clock.pass(5_000);
  world.server.requests.length = 0;
  world.server.seen.length = 0;
  return { world, storage };
}

const contents = (client: TidingsClient, room = "r") =>
  client
    .room(room)
    .messages.get()
    .items.map(({ content }) => content);
const cacheKeys = async (storage: StorageAdapter) =>
  ((await storage.keys?.()) ?? []).filter((key) => key.includes("/cache/"));
const historyReads = (world: World) =>
  world.server.requests.filter((request) => /\/(messages|events)/.test(request));

/** Opens a page without a network, with the room `r`. */
async function openOffline(world: World, storage: StorageAdapter, options: Omit<Options, "storage"> = {}) {
  world.down = true;
  const client = await openPage(world, { storage, ...options });
  client.room("r").open();
  await settle();
  return client;
}

test("a page without a network shows the list, the newest messages and the members", async () => {
  const { world, storage } = await visited();
  const client = await openOffline(world, storage);
  expect(client.me.get()?.id).toBe("alice");
  expect(client.rooms.get().items).toMatchObject([{ id: "r", name: "r", unread: 3 }]);
  expect(client.rooms.get().items[0]?.lastMessage?.content).toBe("message 3");
  expect(contents(client)).toEqual(["message 1", "message 2", "message 3"]);
  expect(client.room("r").state.get().phase).toBe("offline");
  expect(members(client.room("r")).get()).toMatchObject([{ user: "alice" }, { user: "bob" }]);
});

test("a page without a network shows mentions, their count and the notification level", async () => {
  const world = new World();
  const storage = memoryStorage();
  world.server.say("r", "bob", "@alice hello", ["alice"]);
  world.server.say("r", "bob", "@carol hello", ["carol"]);
  world.server.room("r").notify.set("alice", "mentions");
  const client = await openPage(world, { storage });
  client.room("r").open();
  await world.clock.pass(5_000);
  client.close();
  await world.clock.pass(5_000);
  const after = await openOffline(world, storage);
  expect(after.rooms.get().items).toMatchObject([{ unread: 2, unreadMentions: 1, notify: "mentions" }]);
  expect(after.room("r").messages.get().items).toMatchObject([
    { mentions: ["alice"] },
    { mentions: ["carol"] },
  ]);
});

test("a room that is opened before the cache is read shows its messages", async () => {
  const { world, storage } = await visited();
  world.down = true;
  const client = world.client({ account: "alice", storage });
  client.room("r").open();
  keepOffline(client);
  await settle();
  expect(contents(client)).toEqual(["message 1", "message 2", "message 3"]);
});

test("a page that has missed nothing joins from the cursor and reads no history", async () => {
  const { world, storage } = await visited();
  const client = await openOffline(world, storage);
  world.down = false;
  await world.clock.pass(60_000);
  expect(client.room("r").state.get().phase).toBe("live");
  expect(contents(client)).toEqual(["message 1", "message 2", "message 3"]);
  expect(historyReads(world)).toEqual([]);
  const [join] = world.server.framesOf("room:join").filter(({ room }) => room === "r");
  expect(join).toMatchObject({ after: { epoch: "1", seq: 3 } });
});

test("missed events arrive with the join, and no event is applied twice", async () => {
  const { world, storage } = await visited();
  world.server.appendMessage("message 4");
  const client = await openOffline(world, storage);
  world.down = false;
  await world.clock.pass(60_000);
  expect(contents(client)).toEqual(["message 1", "message 2", "message 3", "message 4"]);
  expect(client.rooms.get().items[0]?.unread).toBe(4);
  expect(historyReads(world)).toEqual([]);
});

test("a gap after the cached messages is read", async () => {
  const { world, storage } = await visited();
  world.server.appendMessage("message 4");
  world.server.room().tailStart = 4;
  const client = await openOffline(world, storage);
  world.down = false;
  await world.clock.pass(60_000);
  expect(contents(client)).toEqual(["message 1", "message 2", "message 3", "message 4"]);
  expect(historyReads(world)).toEqual(["GET /rooms/r/events?after=3&epoch=1&upto=4&limit=200"]);
});

test("a room that the user has left meanwhile disappears from the page and from the storage", async () => {
  const { world, storage } = await visited();
  const client = await openOffline(world, storage);
  world.server.rooms.delete("r");
  world.down = false;
  await world.clock.pass(60_000);
  expect(client.room("r").state.get().phase).toBe("removed");
  expect(client.rooms.get().items).toEqual([]);
  expect(await cacheKeys(storage)).toEqual(["tidings/alice/cache/me"]);
});

test("a room without a connection can be closed and opened again", async () => {
  const { world, storage } = await visited();
  world.down = true;
  const client = await openPage(world, { storage });
  const release = client.room("r").open();
  release();
  await world.clock.pass(10_000);
  expect(contents(client)).toEqual([]);
  client.room("r").openAround("unread");
  expect(contents(client)).toEqual(["message 1", "message 2", "message 3"]);
});

test("a read mark that was set without a connection is sent by the next page", async () => {
  const { world, storage } = await visited();
  const client = await openOffline(world, storage);
  client.room("r").markRead(3);
  await world.clock.pass(5_000);
  expect(client.rooms.get().items[0]?.unread).toBe(0);
  client.close();
  await world.clock.pass(1_000);
  world.down = false;
  await openPage(world, { storage });
  await world.clock.pass(60_000);
  expect(world.server.room().read.get("alice")).toBe(3);
});

test("an edit without a connection is shown by the next page and sent once", async () => {
  const { world, storage } = await visited();
  world.server.append("r", {
    type: "message:new",
    id: "m4-r",
    client_id: "own",
    sender: { id: "alice" },
    kind: "text",
    content: "message 4",
  });
  const online = await openPage(world, { storage });
  online.room("r").open();
  await world.clock.pass(5_000);
  world.down = true;
  world.cut();
  await world.clock.pass(100);
  editMessage(online.room("r"), 4, "edited").catch(() => {});
  await world.clock.pass(5_000);
  online.close();
  const client = await openOffline(world, storage);
  await world.clock.pass(5_000);
  expect(client.room("r").messages.get().items[3]).toMatchObject({
    content: "edited",
    pendingChange: { status: "sending" },
  });
  world.down = false;
  await world.clock.pass(60_000);
  expect(contents(client)).toEqual(["message 1", "message 2", "message 3", "edited"]);
  expect(world.server.room().log.filter(({ type }) => type === "message:edited").length).toBe(1);
});

test("the cache holds no change and no message that the server may not have", async () => {
  const { world, storage } = await visited();
  const client = await openPage(world, { storage });
  client.room("r").open();
  await world.clock.pass(1_000);
  world.server.hook = ({ type }) =>
    type === "message:send" ? "lose-answer" : type === "message:edit" ? "lose" : undefined;
  editMessage(client.room("r"), 1, "edited").catch(() => {});
  client.room("r").send("accepted only");
  await world.clock.pass(3_000);
  world.server.appendMessage("after it");
  await world.clock.pass(3_000);
  const text = await storage.getItem("tidings/alice/cache/room/r");
  const { page } = JSON.parse(text ?? "");
  expect(page.items.map(({ content }: { content: string }) => content)).toEqual([
    "message 1",
    "message 2",
    "message 3",
  ]);
  expect(page.cursor).toEqual({ epoch: "1", seq: 3 });
});

test("a room keeps no more messages and bytes than the limits allow", async () => {
  const byCount = await visited(30, { maxMessages: 10 });
  const client = await openOffline(byCount.world, byCount.storage);
  expect(contents(client).length).toBe(10);
  expect(contents(client).at(-1)).toBe("message 30");
  expect(client.room("r").messages.get().hasOlder).toBe(true);
  const byBytes = await visited(30, { maxRoomBytes: 4_000 });
  const text = await byBytes.storage.getItem("tidings/alice/cache/room/r");
  expect(text?.length).toBeLessThanOrEqual(4_000);
  const small = await openOffline(byBytes.world, byBytes.storage);
  expect(contents(small).at(-1)).toBe("message 30");
  expect(small.room("r").messages.get().hasOlder).toBe(true);
});

test.each([
  ["rooms", { maxRooms: 2 }],
  ["bytes", { maxBytes: 2_000 }],
])("the rooms without recent activity are dropped at the limit of %s", async (_, limits) => {
  const world = new World(["a", "b", "c", "d"]);
  const storage = memoryStorage();
  const client = await openPage(world, { storage, limits });
  for (const room of ["a", "b", "c", "d"]) {
    world.server.appendMessage("x".repeat(200), "bob", room);
    await world.clock.pass(2_000);
  }
  await world.clock.pass(5_000);
  client.close();
  await settle();
  const rooms = (await cacheKeys(storage)).filter((key) => key.includes("/room/"));
  expect(rooms.sort().map((key) => key.slice(-1))).toEqual(["c", "d"]);
});

test("writes are collected, and a page that changes nothing writes nothing", async () => {
  const { world, storage } = await visited();
  const writes: string[] = [];
  const counted = {
    ...storage,
    setItem: (key: string, value: string) => {
      if (key.includes("/cache/room/")) writes.push(key);
      return storage.setItem(key, value);
    },
  };
  const client = await openPage(world, { storage: counted });
  client.room("r").open();
  await world.clock.pass(10_000);
  expect(writes).toEqual([]);
  for (let at = 0; at < 50; at++) world.server.appendMessage(`burst ${at}`);
  await world.clock.pass(10_000);
  expect(writes.length).toBeLessThanOrEqual(2);
  expect(writes.length).toBeGreaterThan(0);
});

test("another account sees nothing", async () => {
  const { world, storage } = await visited();
  const client = await openOffline(world, storage, { account: "bob", user: "bob" });
  expect(client.me.get()).toBeUndefined();
  expect(client.rooms.get().items).toEqual([]);
  expect(contents(client)).toEqual([]);
});

test("another user under the same account gets none of the data, and it is deleted", async () => {
  const { world, storage } = await visited();
  world.server.rooms.clear();
  const client = await openPage(world, { storage, user: "bob" });
  await world.clock.pass(5_000);
  expect(client.me.get()?.id).toBe("bob");
  expect(client.rooms.get().items).toEqual([]);
  expect(await cacheKeys(storage)).toEqual(["tidings/alice/cache/me"]);
  expect(await storage.getItem("tidings/alice/cache/me")).toContain("bob");
});

test("a cache that is read after the client has connected is not shown, and stays within its limits", async () => {
  const { world, storage } = await visited();
  const slow = {
    ...storage,
    getItem: async (key: string) => {
      if (key.includes("/cache/")) await new Promise<void>((resolve) => world.clock.setTimeout(resolve, 500));
      return storage.getItem(key);
    },
  };
  world.server.addRoom("other");
  world.server.rooms.delete("r");
  const client = await openPage(world, { storage: slow });
  expect(client.rooms.get().items.map(({ id }) => id)).toEqual(["other"]);
  await world.clock.pass(20_000);
  expect(client.rooms.get().items.map(({ id }) => id)).toEqual(["other"]);
  expect(await cacheKeys(storage)).toEqual(["tidings/alice/cache/me", "tidings/alice/cache/room/other"]);
});

test("a client without an account or without a storage cannot keep a cache", () => {
  const world = new World();
  expect(() => keepOffline(world.client({ storage: memoryStorage() }))).toThrow("account");
  expect(() => keepOffline(world.client({ account: "alice" }))).toThrow("storage");
});

test("a sign-out deletes the cache and unsent messages, which it keeps if the app says so", async () => {
  const { world, storage } = await visited();
  const client = await openOffline(world, storage);
  client.room("r").send("unsent");
  await world.clock.pass(3_000);
  await signOut(client, { everything: false });
  await world.clock.pass(10_000);
  expect(await cacheKeys(storage)).toEqual([]);
  const outboxKeys = async () => ((await storage.keys?.()) ?? []).filter((key) => key.includes("/out/"));
  expect((await outboxKeys()).length).toBe(1);
  expect(client.connection.get().state).toBe("disconnected");
  await signOut(client);
  await world.clock.pass(10_000);
  expect(await outboxKeys()).toEqual([]);
});

test("a sign-out ends the other tabs of the account, and deletes their drafts and unsent messages", async () => {
  const { world, storage } = await visited();
  const one = await openPage(world, { storage });
  const two = await openPage(world, { storage });
  const other = await openPage(world, { storage, account: "bob" });
  const ended: string[] = [];
  const unsubscribe = [onSignOut(two, () => ended.push("two")), onSignOut(other, () => ended.push("other"))];
  world.server.onSend = "hold";
  two.room("r").send("unsent");
  draft(two.room("r")).set({ content: "private" });
  await world.clock.pass(1_000);
  await signOut(one);
  await vi.waitFor(() => expect(ended).toEqual(["two"]));
  await world.clock.pass(10_000);
  expect([two, other].map((client) => client.connection.get().state)).toEqual(["disconnected", "connected"]);
  const keys = ((await storage.keys?.()) ?? []).filter((key) => key.startsWith("tidings/alice/"));
  expect(keys).toEqual([]);
  for (const end of unsubscribe) end();
});

test("each of two tabs keeps the messages of the rooms that it has opened", async () => {
  const world = new World(["r", "s"]);
  const storage = memoryStorage();
  world.server.say("r", "bob", "first in r");
  world.server.say("s", "bob", "first in s");
  const [one, two] = [await openPage(world, { storage }), await openPage(world, { storage })];
  one.room("r").open();
  two.room("s").open();
  await world.clock.pass(1_000);
  await Promise.all([members(one.room("r")).load(), world.clock.pass(1_000)]);
  world.server.say("r", "bob", "later in r");
  world.server.say("s", "bob", "later in s");
  await world.clock.pass(5_000);
  one.close();
  await world.clock.pass(5_000);
  // The second tab has not opened this room.
  world.server.say("r", "bob", "last in r");
  await world.clock.pass(5_000);
  two.close();
  const client = await openOffline(world, storage);
  expect(contents(client)).toEqual(["first in r", "later in r"]);
  expect(members(client.room("r")).get()).toMatchObject([{ user: "alice" }, { user: "bob" }]);
  expect(client.rooms.get().items.find(({ id }) => id === "r")?.lastMessage?.content).toBe("last in r");
  client.room("s").open();
  await settle();
  expect(contents(client, "s")).toEqual(["first in s", "later in s"]);
});

test("a tab that shows old messages keeps the newest ones that another tab has stored", async () => {
  const { world, storage } = await visited(200);
  const [one, two] = [await openPage(world, { storage }), await openPage(world, { storage })];
  one.room("r").openAround(10);
  two.room("r").open();
  await world.clock.pass(2_000);
  world.server.say("r", "bob", "stored by the second tab");
  await world.clock.pass(5_000);
  two.close();
  world.server.say("r", "bob", "seen by the first tab only");
  await world.clock.pass(5_000);
  one.close();
  const client = await openOffline(world, storage);
  expect(contents(client).at(-1)).toBe("stored by the second tab");
  expect(client.rooms.get().items[0]?.lastMessage?.content).toBe("seen by the first tab only");
});

test("a room that is closed before its messages are written keeps them", async () => {
  const world = new World();
  const storage = memoryStorage();
  world.server.say("r", "bob", "first");
  const one = await openPage(world, { storage });
  await world.clock.pass(5_000);
  const release = one.room("r").open();
  await world.clock.pass(1_000);
  release();
  one.close();
  await world.clock.pass(5_000);
  expect(contents(await openOffline(world, storage))).toEqual(["first"]);
});

test("after a sign-out other tabs of the account write nothing more", async () => {
  const { world, storage } = await visited();
  const [one, two] = [await openPage(world, { storage }), await openPage(world, { storage })];
  two.room("r").open();
  await world.clock.pass(5_000);
  await signOut(one);
  world.server.appendMessage("for the other tab");
  await world.clock.pass(5_000);
  expect(contents(two).at(-1)).toBe("for the other tab");
  world.cut();
  await world.clock.pass(60_000);
  world.server.appendMessage("after its reconnect");
  await world.clock.pass(5_000);
  expect(contents(two).at(-1)).toBe("after its reconnect");
  expect(await cacheKeys(storage)).toEqual([]);
});

test("a tab that reconnects after a sign-out in another tab does not store its user again", async () => {
  const { world, storage } = await visited();
  const [one, two] = [await openPage(world, { storage }), await openPage(world, { storage })];
  await world.clock.pass(5_000);
  await signOut(one);
  world.cut();
  await world.clock.pass(60_000);
  expect(two.connection.get().state).toBe("connected");
  expect(await cacheKeys(storage)).toEqual([]);
});

test("a sign-out during the writes of another tab leaves nothing", async () => {
  const { world, storage } = await visited();
  const two = await openPage(world, {
    storage: {
      ...storage,
      setItem: async (key: string, value: string) => {
        // The other tab signs out after this tab has checked the user, and before the write.
        if (key.includes("/cache/room/")) await storage.removeItem("tidings/alice/cache/me");
        return storage.setItem(key, value);
      },
    },
  });
  two.room("r").open();
  world.server.appendMessage("new");
  await world.clock.pass(10_000);
  expect(await storage.getItem("tidings/alice/cache/room/r")).toBeNull();
});

test.each([
  ["no JSON", "{"],
  ["another version", '{"v":2}'],
  ["a damaged message", undefined],
])("an entry with %s is dropped and reported, and the page works", async (_, text) => {
  const { world, storage } = await visited();
  const key = "tidings/alice/cache/room/r";
  const damaged = JSON.parse((await storage.getItem(key)) ?? "");
  damaged.page.items[0].sender = null;
  await storage.setItem(key, text ?? JSON.stringify(damaged));
  const client = await openOffline(world, storage);
  expect(client.rooms.get().items).toEqual([]);
  expect(world.errors.map(({ message }) => message)).toContain("an entry of the cache is damaged");
  expect(await storage.getItem(key)).toBeNull();
  world.down = false;
  await world.clock.pass(60_000);
  expect(contents(client)).toEqual(["message 1", "message 2", "message 3"]);
});

test("a storage that fails is reported once, and the page works", async () => {
  const world = new World();
  world.server.appendMessage("message 1");
  const fail = () => {
    throw new Error("full");
  };
  const client = await openPage(world, {
    storage: { ...memoryStorage(), setItem: fail },
    limits: { storage: { getItem: () => null, setItem: fail, removeItem: fail } },
  });
  client.room("r").open();
  await world.clock.pass(60_000);
  expect(contents(client)).toEqual(["message 1"]);
  const cacheErrors = world.errors.filter(({ message }) => message.endsWith(": full"));
  expect(cacheErrors.length).toBe(1);
});

test("a closed client leaves no timer", async () => {
  const { world, storage } = await visited();
  const client = await openPage(world, { storage });
  client.room("r").open();
  await world.clock.pass(5_000);
  world.server.appendMessage("new");
  await world.clock.pass(100);
  client.close();
  await settle();
  expect(world.clock.pending).toBe(0);
  expect(await storage.getItem("tidings/alice/cache/room/r")).toContain("new");
});
