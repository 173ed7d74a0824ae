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
  const again = () => {
    opened = undefined;
  };
  const open = async () => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    const database = await settle(request);
    // The browser may close it, as where its data are cleared.
    database.onclose = again;
    // Who deletes it, or changes its form, waits for all who have it open.
    database.onversionchange = () => {
      again();
      database.close();
    };
    return database;
  };
  const entries = async (mode: IDBTransactionMode) => {
    try {
      opened ??= open();
      return (await opened).transaction(STORE, mode).objectStore(STORE);
    } catch (error) {
      // Opened again the next time: what hinders may pass, as a private mode that ends.
      again();
      throw error;
    }
  };
  const run = async <T>(mode: IDBTransactionMode, work: (entries: IDBObjectStore) => IDBRequest<T>) =>
    settle(work(await entries(mode)));
  return customStorage({
    getItem: async (key) =>
      (await run<string | undefined>("readonly", (entries) => entries.get(key))) ?? null,
    setItem: (key, value) => run("readwrite", (entries) => entries.put(value, key)),
    removeItem: (key) => run("readwrite", (entries) => entries.delete(key)),
    keys: async () => (await run("readonly", (entries) => entries.getAllKeys())).map(String),
  });
}
