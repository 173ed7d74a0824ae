// Two pages of one device that upload the same file.
import { afterEach, expect, test, vi } from "vitest";
import { draft } from "../src/drafts.js";
import { eventually, FilesWorld, makeFile, until } from "./support/files-world.js";

const KIB = 1024;

afterEach(() => vi.unstubAllGlobals());

/** Web Locks of one device. Node 20 has none. */
function stubLocks(): string[] {
  const taken: string[] = [];
  let last: Promise<unknown> = Promise.resolve();
  const request = (name: string, { signal }: { signal: AbortSignal }, work: () => Promise<void>) => {
    const result = last.then(() => {
      signal.throwIfAborted();
      taken.push(name);
      return work();
    });
    last = result.catch(() => {});
    return result;
  };
  vi.stubGlobal("navigator", { locks: { request } });
  return taken;
}

/** Opens two pages with the same draft, whose file uploads in both. */
async function openTwo(world: FilesWorld, file: File) {
  const [first, second] = [world.page(), world.page()];
  await Promise.all([first.client.connect(), second.client.connect()]);
  const attachment = first.files.add("r", file);
  const { upload: id = "" } = attachment;
  draft(first.room).set({ content: "both", attachments: [attachment] });
  await until(first.files.upload(id), (state) => state?.phase === "sending");
  return { first, second, id };
}

test.each([false, true])(
  "two pages upload a file once, and its message is sent once (locks: %s)",
  async (locked) => {
    const taken = locked ? stubLocks() : [];
    const world = await FilesWorld.start();
    const file = makeFile(3000 * KIB);
    // Small requests, so that both pages send some of them.
    world.server.cutAfterBytes = 100 * KIB;
    const { first, second, id } = await openTwo(world, file);
    const inSecond = second.files.upload(id);
    await eventually(() => (world.server.files.get("f1")?.bytes.length ?? 0) > 1000 * KIB);
    world.server.cutAfterBytes = Number.POSITIVE_INFINITY;
    await until(first.files.upload(id), (state) => state?.phase === "complete");
    await until(inSecond, (state) => state?.phase === "complete");
    expect(world.server.files.size).toBe(1);
    expect(world.server.files.get("f1")?.bytes.equals(Buffer.from(await file.arrayBuffer()))).toBe(true);
    // The tab that waited for the lock finds a complete upload.
    if (locked) {
      expect(taken.length).toBe(2);
      expect(world.server.requests.filter((request) => request.endsWith("/complete")).length).toBe(1);
    }
    draft(first.room).send();
    await eventually(() => world.sent().length === 1);
    expect(world.sent()[0]).toMatchObject({ content: "both", attachments: [{ file: "f1" }] });
  },
);
