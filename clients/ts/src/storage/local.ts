import { customStorage, type KeptStorage } from "./custom.js";

/** The localStorage of a page, shared by its tabs. Where it is refused, each call throws. */
export function localStorageAdapter(): KeptStorage {
  const storage = () => globalThis.localStorage;
  return customStorage({
    getItem: (key) => storage().getItem(key),
    setItem: (key, value) => storage().setItem(key, value),
    removeItem: (key) => storage().removeItem(key),
    keys: () => Object.keys(storage()),
    subscribe(listener) {
      const heard = (event: StorageEvent) => listener(event.key);
      globalThis.addEventListener("storage", heard);
      return () => globalThis.removeEventListener("storage", heard);
    },
  });
}
