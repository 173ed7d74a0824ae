import { type AdapterStorage, customStorage } from "./custom.js";

const STORE_NAME = "entries";

/** Makes a storage in IndexedDB, shared by the tabs of a site. Unlike localStorage it does not block rendering. */
export function indexedDbStorage(name = "tidings"): AdapterStorage {
  let connection: Promise<IDBDatabase> | undefined;
  const toPromise = <T>(request: IDBRequest<T>) =>
    new Promise<T>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const forgetDatabase = () => {
    connection = undefined;
  };
  const open = async () => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE_NAME);
    const database = await toPromise(request);
    // The browser may close the database, for example when it clears its data.
    database.onclose = forgetDatabase;
    // Another tab can delete or upgrade the database only after this connection is closed.
    database.onversionchange = () => {
      forgetDatabase();
      database.close();
    };
    return database;
  };
  const openEntries = async (mode: IDBTransactionMode) => {
    try {
      connection ??= open();
      return (await connection).transaction(STORE_NAME, mode).objectStore(STORE_NAME);
    } catch (error) {
      // The next call opens the database again, because the failure may be temporary.
      forgetDatabase();
      throw error;
    }
  };
  const run = async <T>(mode: IDBTransactionMode, work: (entries: IDBObjectStore) => IDBRequest<T>) =>
    toPromise(work(await openEntries(mode)));
  const listeners = new Set<(key: string) => void>();
  /** Tells the other tabs which keys change. The channel is open while this tab has listeners. */
  let channel: BroadcastChannel | undefined;
  return customStorage({
    subscribe(listener) {
      const ownListener = (key: string) => listener(key);
      listeners.add(ownListener);
      if (!channel && typeof BroadcastChannel === "function") {
        channel = new BroadcastChannel(`tidings/${name}`);
        channel.onmessage = ({ data }: MessageEvent<string>) => {
          for (const notifyTab of [...listeners]) notifyTab(data);
        };
      }
      return () => {
        listeners.delete(ownListener);
        if (listeners.size) return;
        channel?.close();
        channel = undefined;
      };
    },
    getItem: async (key) =>
      (await run<string | undefined>("readonly", (entries) => entries.get(key))) ?? null,
    setItem: async (key, value) => {
      await run("readwrite", (entries) => entries.put(value, key));
      channel?.postMessage(key);
    },
    removeItem: async (key) => {
      await run("readwrite", (entries) => entries.delete(key));
      channel?.postMessage(key);
    },
    keys: async () => (await run("readonly", (entries) => entries.getAllKeys())).map(String),
  });
}
