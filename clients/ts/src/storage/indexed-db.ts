import { type AdapterStorage, customStorage } from "./custom.js";

const STORE = "entries";

/** Makes a storage in IndexedDB, shared by the tabs of a site. Unlike localStorage it does not block rendering. */
export function indexedDbStorage(name = "tidings"): AdapterStorage {
  let opened: Promise<IDBDatabase> | undefined;
  const settled = <T>(request: IDBRequest<T>) =>
    new Promise<T>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const forgetDatabase = () => {
    opened = undefined;
  };
  const open = async () => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    const database = await settled(request);
    // The browser may close the database, for example when it clears its data.
    database.onclose = forgetDatabase;
    // Another tab can delete or upgrade the database only after this connection is closed.
    database.onversionchange = () => {
      forgetDatabase();
      database.close();
    };
    return database;
  };
  const entries = async (mode: IDBTransactionMode) => {
    try {
      opened ??= open();
      return (await opened).transaction(STORE, mode).objectStore(STORE);
    } catch (error) {
      // The next call opens the database again, because the failure may be temporary.
      forgetDatabase();
      throw error;
    }
  };
  const run = async <T>(mode: IDBTransactionMode, work: (entries: IDBObjectStore) => IDBRequest<T>) =>
    settled(work(await entries(mode)));
  return customStorage({
    getItem: async (key) =>
      (await run<string | undefined>("readonly", (entries) => entries.get(key))) ?? null,
    setItem: (key, value) => run("readwrite", (entries) => entries.put(value, key)),
    removeItem: (key) => run("readwrite", (entries) => entries.delete(key)),
    keys: async () => (await run("readonly", (entries) => entries.getAllKeys())).map(String),
  });
}
