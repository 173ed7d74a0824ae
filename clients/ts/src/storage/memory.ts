import { type AdapterStorage, customStorage } from "./custom.js";

/** Makes a storage in memory, which is lost when the page is closed. */
export function memoryStorage(): AdapterStorage {
  const entries = new Map<string, string>();
  return customStorage({
    getItem: (key) => entries.get(key) ?? null,
    setItem: (key, value) => void entries.set(key, value),
    removeItem: (key) => void entries.delete(key),
    keys: () => [...entries.keys()],
  });
}
