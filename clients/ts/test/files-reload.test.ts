// Uploads that a page leaves behind, and what the next page makes of them.
import { expect, test, vi } from "vitest";
import { draft } from "../src/drafts.js";
import { indexedDbFiles } from "../src/files/store.js";
import { eventually, FilesWorld, makeFile, until } from "./support/files-world.js";

const KIB = 1024;
const DATABASE = "tidings-files";

const record = (id: string, size = 1) => ({
  id,
  account: "alice",
  room: "r",
  name: "a",
  mediaType: "a/b",
  size,
  at: 1,
});

test("the next page continues an upload where the closed page was, and sends its message once", async () => {
  const world = await FilesWorld.start();
  const first = world.page();
  const file = makeFile(1500 * KIB);
  let patches = 0;
  world.server.hook = ({ method }) => {
    if (method !== "PATCH") return undefined;
    patches++;
    return patches > 2 ? "cut" : undefined;
  };
  first.room.send("before");
  first.room.send("with file", { attachments: [first.files.add("r", file)] });
  first.room.send("after");
  await eventually(() => patches > 3);
  first.end();
  const before = world.server.files.get("f1")?.bytes.length ?? 0;
  expect(before).toBeGreaterThan(0);
  world.server.hook = undefined;
  world.server.requests.length = 0;

  const second = world.page();
  await eventually(() => world.sent().length === 3);
  expect(world.sent().map(({ content }) => content)).toEqual(["before", "with file", "after"]);
  expect(world.sent()[1]?.attachments).toMatchObject([{ file: "f1", name: "photo.png" }]);
  expect(world.server.files.get("f1")?.bytes.equals(Buffer.from(await file.arrayBuffer()))).toBe(true);
  // The server already had the first bytes and the file.
  expect(world.server.requests[0]).toContain("HEAD");
  expect(world.server.files.size).toBe(1);
  // Nothing stays on the device.
  await until(second.client.outbox, (entries) => entries.length === 0);
  await eventually(async () => (await indexedDbFiles(DATABASE).records()).length === 0);
});

test("a page that ends between the upload and the send leaves a message that is sent once", async () => {
  const world = await FilesWorld.start();
  const first = world.page({ connect: false });
  await first.client.connect();
  world.network.server.hook = (frame) => (frame.type === "message:send" ? "lose" : undefined);
  first.room.send("late", { attachments: [first.files.add("r", makeFile(10))] });
  await eventually(() => world.network.server.framesOf("message:send").length > 0);
  first.end();
  world.network.server.hook = undefined;
  world.page();
  await eventually(() => world.sent().length === 1);
  expect(world.server.countOf("POST")).toBe(2);
  expect(world.sent()[0]?.attachments).toMatchObject([{ file: "f1" }]);
});

test("a message waits for its file when the next page does not upload", async () => {
  const world = await FilesWorld.start();
  world.offline = true;
  const first = world.page();
  await first.client.connect();
  first.room.send("waits", { attachments: [first.files.add("r", makeFile(10))] });
  first.room.send("behind it");
  await eventually(async () => (await indexedDbFiles(DATABASE).records()).length === 1);
  first.end();
  const second = world.page();
  await until(second.client.outbox, (entries) => entries.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(world.sent()).toEqual([]);
  world.offline = false;
  second.client.retryNow();
  await eventually(() => world.sent().length === 2);
  expect(world.sent().map(({ content }) => content)).toEqual(["waits", "behind it"]);
});

test("the upload of a draft continues on the next page", async () => {
  const world = await FilesWorld.start();
  world.offline = true;
  const first = world.page();
  draft(first.room).set({
    content: "soon",
    attachments: [first.files.add("r", makeFile(10, "a.txt", "text/plain"))],
  });
  await eventually(async () => (await indexedDbFiles(DATABASE).records()).length === 1);
  first.end();
  world.offline = false;
  const second = world.page();
  const { attachments } = await until(draft(second.room), (state) => state.attachments.length === 1);
  const upload = second.files.upload(attachments[0]?.upload ?? "");
  const state = await until(upload, (now) => now?.phase === "complete");
  expect(state).toMatchObject({ name: "a.txt", size: 10, sent: 10, kept: true });
  draft(second.room).send();
  await eventually(() => world.sent().length === 1);
  expect(world.sent()[0]).toMatchObject({ content: "soon", attachments: [{ file: "f1" }] });
});

test("an old complete upload of a draft is checked, and sent again if the server has removed it", async () => {
  const world = await FilesWorld.start();
  const first = world.page();
  const attachment = first.files.add("r", makeFile(10));
  draft(first.room).set({ content: "old", attachments: [attachment] });
  await until(first.files.upload(attachment.upload ?? ""), (state) => state?.phase === "complete");
  first.end();
  const store = indexedDbFiles(DATABASE);
  await eventually(async () => (await store.records())[0]?.completedAt !== undefined);
  const [kept] = await store.records();
  await store.update({ ...kept, completedAt: Date.now() - 4 * 86_400_000 } as NonNullable<typeof kept>);
  world.server.files.clear();
  const second = world.page();
  await until(draft(second.room), (state) => state.attachments.length === 1);
  draft(second.room).send();
  await eventually(() => world.sent().length === 1);
  expect(world.sent()[0]).toMatchObject({ content: "old", attachments: [{ file: "f2" }] });
});

test("a message whose file the device has lost fails, and is not sent without it", async () => {
  const world = await FilesWorld.start();
  world.offline = true;
  const first = world.page();
  await first.client.connect();
  first.room.send("lost", { attachments: [first.files.add("r", makeFile(10))] });
  await eventually(async () => (await indexedDbFiles(DATABASE).records()).length === 1);
  first.end();
  const [kept] = await indexedDbFiles(DATABASE).records();
  await indexedDbFiles(DATABASE).remove(kept?.id ?? "");
  world.offline = false;
  const second = world.page();
  const [entry] = await until(second.client.outbox, ([one]) => one?.status === "failed");
  expect(entry?.error).toMatchObject({ code: "not_found", reason: "file_lost" });
  second.client.outbox.retryAll();
  await until(second.client.outbox, ([one]) => one?.status === "failed");
  expect(world.sent()).toEqual([]);
});

test("the uploads of a user wait until that user returns", async () => {
  const world = await FilesWorld.start();
  world.offline = true;
  let user = "alice";
  const { client, files, room } = world.page({ token: () => `${user}.1` });
  await until(client.me, (me) => me?.id === "alice");
  room.send("from alice", { attachments: [files.add("r", makeFile(10))] });
  await eventually(async () => (await indexedDbFiles(DATABASE).records()).length === 1);
  client.disconnect();
  user = "bob";
  world.offline = false;
  await client.connect();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(world.sent()).toEqual([]);
  expect(world.server.requests).toEqual([]);
  client.disconnect();
  user = "alice";
  await client.connect();
  await eventually(() => world.sent().length === 1);
  expect([...world.server.tokens]).toEqual(["alice.1"]);
});

test("a user who signs out can delete the bytes of the account", async () => {
  const world = await FilesWorld.start();
  world.offline = true;
  const store = indexedDbFiles(DATABASE);
  await store.add({ ...record("others"), account: "bob", at: Date.now() }, makeFile(1), 100);
  await store.add({ ...record("earlier"), at: Date.now() }, makeFile(1), 100);
  const page = world.page();
  page.files.add("r", makeFile(10));
  await eventually(async () => (await store.records()).length === 3);
  await page.files.forget();
  expect((await store.records()).map(({ id }) => id)).toEqual(["others"]);
});

test("a page without a storage keeps no bytes", async () => {
  const world = await FilesWorld.start();
  const page = world.page({ keeps: false });
  page.room.send("x", { attachments: [page.files.add("r", makeFile(10))] });
  await eventually(() => world.sent().length === 1);
  expect((await indexedDB.databases()).length).toBe(0);
});

test("the storage takes no more bytes than its bound", async () => {
  const store = indexedDbFiles(DATABASE);
  expect(await store.add(record("a", 60), makeFile(60), 100)).toBe(true);
  expect(await store.add(record("b", 60), makeFile(60), 100)).toBe(false);
  expect(await store.add(record("c", 40), makeFile(40), 100)).toBe(true);
  expect((await store.records()).map(({ id }) => id)).toEqual(["a", "c"]);
  expect((await store.blob("c"))?.size).toBe(40);
  // A removed upload does not come back.
  await store.remove("a");
  await store.update(record("a", 60));
  expect(await store.record("a")).toBeUndefined();
});

test("the storage reopens a database that was closed", async () => {
  const opened: IDBOpenDBRequest[] = [];
  const open = vi.spyOn(indexedDB, "open").mockImplementation((...args) => {
    const request = IDBFactory.prototype.open.apply(indexedDB, args);
    opened.push(request);
    return request;
  });
  const store = indexedDbFiles(DATABASE);
  await store.add(record("a"), makeFile(1), 100);
  opened[0]?.result.close();
  await expect(store.record("a")).rejects.toThrow();
  expect(await store.record("a")).toMatchObject({ id: "a" });
  expect(opened.length).toBe(2);
  open.mockRestore();
});

test("kept files that no message and no draft names are deleted after an hour", async () => {
  const world = await FilesWorld.start();
  const store = indexedDbFiles(DATABASE);
  for (const id of ["orphan", "drafted"]) await store.add(record(id), makeFile(1), 100);
  await store.add({ ...record("young"), at: Date.now() }, makeFile(1), 100);
  for (const id of ["deleted", "others"])
    await store.add({ ...record(id), account: "bob" }, makeFile(1), 100);
  world.disk.setItem(
    "tidings/bob/out/c1",
    JSON.stringify({ options: { attachments: [{ upload: "others" }] } }),
  );
  world.disk.setItem("tidings/alice/draft/r", JSON.stringify({ attachments: [{ upload: "drafted" }] }));
  world.page({ connect: false });
  await eventually(async () => (await store.records()).length === 3);
  expect((await store.records()).map(({ id }) => id).sort()).toEqual(["drafted", "others", "young"]);
});
