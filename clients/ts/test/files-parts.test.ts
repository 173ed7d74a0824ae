// Uploads whose bytes go to a bucket in parts, with cuts, expired URLs and a reload.
import { expect, test, vi } from "vitest";
import type { Core } from "../src/core.js";
import { sendParts } from "../src/files/parts.js";
import { systemTimers } from "../src/timers.js";
import { eventually, FilesWorld, makeFile, until } from "./support/files-world.js";

const KIB = 1024;

/** A world whose server has a bucket, with parts of 100 KiB. */
async function startWorld(): Promise<FilesWorld> {
  const world = await FilesWorld.start();
  world.server.partBytes = 100 * KIB;
  return world;
}

const equals = async (world: FilesWorld, file: File, id = "f1") =>
  world.server.files.get(id)?.bytes.equals(Buffer.from(await file.arrayBuffer()));

test("a file goes to the bucket in parts, without the token", async () => {
  const world = await startWorld();
  const page = world.page();
  const file = makeFile(1_950 * KIB);
  const attachment = page.files.add("r", file);
  const sent: number[] = [];
  const state = page.files.upload(attachment.upload ?? "");
  state.subscribe(() => {
    const { phase, sent: bytes = 0 } = state.get() ?? {};
    if (phase === "sending" && bytes !== sent.at(-1)) sent.push(bytes);
  });
  page.room.send("look", { attachments: [attachment] });
  await eventually(() => world.sent().length > 0);
  expect(world.sent()[0]?.attachments).toMatchObject([{ file: "f1", size: 1_950 * KIB }]);
  expect(await equals(world, file)).toBe(true);
  expect(sent).toEqual(Array.from({ length: 21 }, (_, count) => Math.min(count * 100, 1_950) * KIB));
  // 20 parts, of which an answer names 16.
  expect(world.server.countOf("PUT")).toBe(20);
  expect(world.server.countOf("GET")).toBe(3);
  expect(world.server.countOf("PATCH") + world.server.countOf("HEAD")).toBe(0);
});

test.each(["POST", "PUT", "GET", "complete"])("a lost answer to %s is no second message", async (what) => {
  const world = await startWorld();
  let lost = 0;
  world.server.hook = ({ method }, path) => {
    const isMeant = what === "complete" ? path.endsWith("/complete") : method === what;
    return isMeant && lost++ < 2 ? "lose-answer" : undefined;
  };
  const page = world.page();
  const file = makeFile(350 * KIB);
  page.room.send("once", { attachments: [page.files.add("r", file)] });
  await eventually(() => world.sent().length > 0);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(lost).toBeGreaterThan(1);
  expect(world.sent().length).toBe(1);
  expect(await equals(world, file, world.sent()[0]?.attachments[0]?.file)).toBe(true);
});

test("a cut part is sent again, and no part that has arrived", async () => {
  const world = await startWorld();
  let puts = 0;
  world.server.hook = ({ method }) => {
    if (method === "PUT") world.server.cutAfterBytes = ++puts === 3 ? 50 * KIB : Number.POSITIVE_INFINITY;
    return undefined;
  };
  const page = world.page();
  const file = makeFile(450 * KIB);
  page.room.send("cut", { attachments: [page.files.add("r", file)] });
  await eventually(() => world.sent().length > 0);
  expect(await equals(world, file)).toBe(true);
  expect(puts).toBe(6);
});

test("an upload in parts continues after a reload", async () => {
  const world = await startWorld();
  const page = world.page();
  const file = makeFile(450 * KIB);
  let puts = 0;
  world.server.hook = ({ method }) => (method === "PUT" && ++puts > 2 ? "cut" : undefined);
  page.room.send("later", { attachments: [page.files.add("r", file)] });
  await eventually(() => puts > 2);
  page.end();
  world.server.hook = undefined;
  puts = world.server.countOf("PUT");
  world.page();
  await eventually(() => world.sent().length > 0);
  expect(await equals(world, file)).toBe(true);
  expect(world.server.countOf("PUT") - puts).toBe(3);
  expect(world.server.files.size).toBe(1);
});

test("expired URLs are replaced", async () => {
  const world = await startWorld();
  world.server.linkMs = -1;
  const page = world.page();
  page.room.send("slow", { attachments: [page.files.add("r", makeFile(150 * KIB))] });
  await eventually(() => world.server.countOf("PUT") > 1);
  world.server.linkMs = 300_000;
  await eventually(() => world.sent().length > 0);
});

test("wrong bytes begin a new upload, and end after some", async () => {
  const world = await startWorld();
  const page = world.page();
  let spoiled = 0;
  world.server.hook = (_, path) => {
    const file = [...world.server.files.values()].at(-1);
    if (path.endsWith("/complete") && file && spoiled++ < 2) file.parts.set(1, Buffer.alloc(100 * KIB));
    return undefined;
  };
  const file = makeFile(150 * KIB);
  page.room.send("right", { attachments: [page.files.add("r", file)] });
  await eventually(() => world.sent().length > 0);
  expect(await equals(world, file, "f3")).toBe(true);
  expect([...world.server.files.keys()]).toEqual(["f3"]);
});

test("a server that always fails after all parts ends the upload", async () => {
  const world = await startWorld();
  world.server.hook = (_, path) =>
    path.endsWith("/complete") ? { status: 500, body: { code: "internal" } } : undefined;
  const page = world.page();
  page.room.send("never", { attachments: [page.files.add("r", makeFile(250 * KIB))] });
  // The parts that have arrived do not count as progress again after each failure.
  await until(page.client.outbox, ([one]) => one?.status === "failed");
  expect(world.server.countOf("PUT")).toBe(3);
});

test.each([
  ["a relative URL", { offset: 0, size: 10, url: "v1/files/f/parts/1" }],
  ["another scheme", { offset: 0, size: 10, url: "file:///etc/passwd" }],
  ["more bytes than the file has", { offset: 5, size: 6, url: "http://bucket.example/1" }],
  ["an offset before the file", { offset: -1, size: 10, url: "http://bucket.example/1" }],
  ["no bytes", { offset: 0, size: 0, url: "http://bucket.example/1" }],
])("a part with %s is not sent", async (_, part) => {
  const fetch = vi.fn(async () => new Response());
  const origin = async () => "https://chat.example";
  const core = { env: { fetch, origin, timers: systemTimers } } as unknown as Core;
  const send = (parts: object[]) =>
    sendParts(core, { received_bytes: 0, parts }, makeFile(10), new AbortController().signal, () => {});
  await expect(send([part])).rejects.toMatchObject({ code: "protocol" });
  expect(fetch).not.toHaveBeenCalled();
  await expect(send([{ offset: 0, size: 10, url: "http://bucket.example/1" }])).resolves.toBe(true);
  expect(fetch).toHaveBeenCalledOnce();
  // A part that passes through the service has a path as its URL.
  await expect(send([{ offset: 0, size: 10, url: "/v1/files/f/parts/1?signature=a" }])).resolves.toBe(true);
  expect(fetch).toHaveBeenLastCalledWith(
    "https://chat.example/v1/files/f/parts/1?signature=a",
    expect.anything(),
  );
});
