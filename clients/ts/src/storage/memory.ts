import { customStorage, type KeptStorage } from "./custom.js";

/** Keeps nothing beyond the life of the page. */
export function memoryStorage(): KeptStorage {
  const entries = new Map<string, string>();
  return customStorage({
    getItem: (key) => entries.get(key) ?? null,
    setItem: (key, value) => void entries.set(key, value),
    removeItem: (key) => void entries.delete(key),
    keys: () => [...entries.keys()],
  });
}
