import { type AdapterStorage, customStorage } from "./custom.js";

/**
 * Makes a storage in localStorage, shared by the tabs of a site. Its functions throw when the browser refuses access.
 */
export function localStorageAdapter(): AdapterStorage {
  const storage = () => globalThis.localStorage;
  return customStorage({
    getItem: (key) => storage().getItem(key),
    setItem: (key, value) => storage().setItem(key, value),
    removeItem: (key) => storage().removeItem(key),
    keys: () => Object.keys(storage()),
    subscribe(listener) {
      const handler = (event: StorageEvent) => listener(event.key);
      globalThis.addEventListener("storage", handler);
      return () => globalThis.removeEventListener("storage", handler);
    },
  });
}
