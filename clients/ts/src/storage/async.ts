import { customStorage, type KeptStorage } from "./custom.js";

/** The part of React Native's AsyncStorage that is used. */
export interface AsyncStorageLike {
  getItem(key: string): Promise<string | null>;
  setItem(key: string, value: string): Promise<unknown>;
  removeItem(key: string): Promise<unknown>;
  getAllKeys(): Promise<readonly string[]>;
}

/** Makes a storage of React Native's AsyncStorage, or of what looks like it. */
export function asyncStorage(storage: AsyncStorageLike): KeptStorage {
  return customStorage({
    getItem: (key) => storage.getItem(key),
    setItem: (key, value) => storage.setItem(key, value),
    removeItem: (key) => storage.removeItem(key),
    keys: () => storage.getAllKeys(),
  });
}
