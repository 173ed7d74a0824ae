import { afterEach, beforeEach, expect, test } from "vitest";
import { indexedDbStorage } from "../src/storage.js";

/** The part of IndexedDB that the storage uses, with the closes that a browser may cause. */
class Database {
  onclose: (() => void) | null = null;
  onversionchange: (() => void) | null = null;
  closed = false;
  /** The database whose transactions fail without a close event. */
  broken = false;
  readonly #kept: Map<string, string>;

  constructor(kept: Map<string, string>) {
    this.#kept = kept;
  }

  createObjectStore(): void {}

  close(): void {
    this.closed = true;
  }

  transaction() {
    if (this.closed || this.broken) throw new Error("InvalidStateError");
    const kept = this.#kept;
    const objectStore = () => ({
      get: (key: string) => request(() => kept.get(key)),
      put: (value: string, key: string) => request(() => void kept.set(key, value)),
      delete: (key: string) => request(() => void kept.delete(key)),
      getAllKeys: () => request(() => [...kept.keys()]),
    });
    return { objectStore };
  }
}

function request<T>(work: () => T) {
  const made: { result?: T; onsuccess?: () => void } = {};
  queueMicrotask(() => {
    made.result = work();
    made.onsuccess?.();
  });
  return made;
}

const page = globalThis as { indexedDB?: unknown };
let opened: Database[] = [];

beforeEach(() => {
  const kept = new Map<string, string>();
  opened = [];
  page.indexedDB = {
    open: () =>
      request(() => {
        opened.push(new Database(kept));
        return opened.at(-1);
      }),
  };
});

afterEach(() => {
  delete page.indexedDB;
});

const ends: { readonly [how: string]: (database: Database) => void } = {
  "the browser closes": (database) => {
    database.closed = true;
    database.onclose?.();
  },
  "somebody deletes": (database) => database.onversionchange?.(),
};

for (const [how, end] of Object.entries(ends)) {
  test(`the storage reopens a database that ${how}`, async () => {
    const storage = indexedDbStorage();
    await storage.setItem("a", "1");
    end(opened[0] as Database);
    expect(opened[0]?.closed).toBe(true);
    await storage.setItem("b", "2");
    expect(await storage.getItem("a")).toBe("1");
    expect(await storage.keys?.()).toEqual(["a", "b"]);
    expect(opened.length).toBe(2);
  });
}

test("the storage reopens a database after it throws", async () => {
  const storage = indexedDbStorage();
  await storage.setItem("a", "1");
  (opened[0] as Database).broken = true;
  await expect(storage.getItem("a")).rejects.toThrow();
  expect(await storage.getItem("a")).toBe("1");
  expect(opened.length).toBe(2);
});
