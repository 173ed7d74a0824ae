import { type AdapterStorage, customStorage } from "./custom.js";

/** The part of React Native's AsyncStorage that the kit uses. */
export interface AsyncStorageLike {
  getItem(key: string): Promise<string | null>;
  setItem(key: string, value: string): Promise<unknown>;
  removeItem(key: string): Promise<unknown>;
  getAllKeys(): Promise<readonly string[]>;
}

/** Makes a storage from React Native's AsyncStorage, or from an object with the same functions. */
export function asyncStorage(storage: AsyncStorageLike): AdapterStorage {
  return customStorage({
    getItem: (key) => storage.getItem(key),
    setItem: (key, value) => storage.setItem(key, value),
    removeItem: (key) => storage.removeItem(key),
    keys: () => storage.getAllKeys(),
  });
}
