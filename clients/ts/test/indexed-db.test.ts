import { afterEach, beforeEach, expect, test } from "vitest";
import { indexedDbStorage } from "../src/storage.js";

/** A fake of the part of IndexedDB that the storage uses. It can close the database, as a browser may do. */
class FakeDatabase {
  onclose: (() => void) | null = null;
  onversionchange: (() => void) | null = null;
  closed = false;
  /** If true, all transactions fail without a close event. */
  broken = false;
  readonly #entries: Map<string, string>;

  constructor(entries: Map<string, string>) {
    this.#entries = entries;
  }

  createObjectStore(): void {}

  close(): void {
    this.closed = true;
  }

  transaction() {
    if (this.closed || this.broken) throw new Error("InvalidStateError");
    const entries = this.#entries;
    const objectStore = () => ({
      get: (key: string) => request(() => entries.get(key)),
      put: (value: string, key: string) => request(() => void entries.set(key, value)),
      delete: (key: string) => request(() => void entries.delete(key)),
      getAllKeys: () => request(() => [...entries.keys()]),
    });
    return { objectStore };
  }
}

function request<T>(work: () => T) {
  const pendingRequest: { result?: T; onsuccess?: () => void } = {};
  queueMicrotask(() => {
    pendingRequest.result = work();
    pendingRequest.onsuccess?.();
  });
  return pendingRequest;
}

const globals = globalThis as { indexedDB?: unknown };
let databases: FakeDatabase[] = [];

beforeEach(() => {
  const entries = new Map<string, string>();
  databases = [];
  globals.indexedDB = {
    open: () =>
      request(() => {
        databases.push(new FakeDatabase(entries));
        return databases.at(-1);
      }),
  };
});

afterEach(() => {
  delete globals.indexedDB;
});

const CLOSINGS: { readonly [how: string]: (database: FakeDatabase) => void } = {
  "the browser closes": (database) => {
    database.closed = true;
    database.onclose?.();
  },
  "somebody deletes": (database) => database.onversionchange?.(),
};

for (const [how, closeDatabase] of Object.entries(CLOSINGS)) {
  test(`the storage reopens a database that ${how}`, async () => {
    const storage = indexedDbStorage();
    await storage.setItem("a", "1");
    closeDatabase(databases[0] as FakeDatabase);
    expect(databases[0]?.closed).toBe(true);
    await storage.setItem("b", "2");
    expect(await storage.getItem("a")).toBe("1");
    expect(await storage.keys?.()).toEqual(["a", "b"]);
    expect(databases.length).toBe(2);
  });
}

test("the storage reopens a database after it throws", async () => {
  const storage = indexedDbStorage();
  await storage.setItem("a", "1");
  (databases[0] as FakeDatabase).broken = true;
  await expect(storage.getItem("a")).rejects.toThrow();
  expect(await storage.getItem("a")).toBe("1");
  expect(databases.length).toBe(2);
});
