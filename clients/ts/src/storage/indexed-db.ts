import { customStorage, type KeptStorage } from "./custom.js";

const STORE = "entries";

/** A database of the page, shared by its tabs: larger than localStorage, and never in the way of drawing. */
export function indexedDbStorage(name = "tidings"): KeptStorage {
  let opened: Promise<IDBDatabase> | undefined;
  const settle = <T>(request: IDBRequest<T>) =>
    new Promise<T>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const open = () => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    return settle(request).catch((error) => {
      // Asked again the next time: what hinders may pass, as a private mode that ends.
      opened = undefined;
      throw error;
    });
  };
  const run = async <T>(mode: IDBTransactionMode, work: (entries: IDBObjectStore) => IDBRequest<T>) => {
    opened ??= open();
    return settle(work((await opened).transaction(STORE, mode).objectStore(STORE)));
  };
  return customStorage({
    getItem: async (key) =>
      (await run<string | undefined>("readonly", (entries) => entries.get(key))) ?? null,
    setItem: (key, value) => run("readwrite", (entries) => entries.put(value, key)),
    removeItem: (key) => run("readwrite", (entries) => entries.delete(key)),
    keys: async () => (await run("readonly", (entries) => entries.getAllKeys())).map(String),
  });
}
