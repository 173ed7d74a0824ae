import type { OutboxStorage, StorageAdapter } from "../types.js";
import { TabEntryStore } from "./tab-entry-store.js";

/** A storage adapter that an app can give as the option `storage`. */
export type AdapterStorage = StorageAdapter & OutboxStorage;

/** Makes a storage from an object with `getItem`, `setItem` and `removeItem`. Several tabs may share it. */
export function customStorage(adapter: StorageAdapter): AdapterStorage {
  return {
    isOutboxStorage: true,
    getItem: (key) => adapter.getItem(key),
    setItem: (key, value) => adapter.setItem(key, value),
    removeItem: (key) => adapter.removeItem(key),
    keys: () => (adapter.keys ?? adapter.getAllKeys)?.call(adapter) ?? [],
    subscribe: (listener) => adapter.subscribe?.(listener) ?? (() => {}),
    open: (env, tab, adopt) => new TabEntryStore(adapter, env, tab, adopt),
  };
}
