import type { OutboxStorage, StorageAdapter } from "../types.js";
import { Tabs } from "./tabs.js";

/** An adapter that can be given as `storage`. */
export type KeptStorage = StorageAdapter & OutboxStorage;

/** Makes a storage of anything with `getItem`, `setItem` and `removeItem`. Several tabs may share it. */
export function customStorage(adapter: StorageAdapter): KeptStorage {
  return {
    getItem: (key) => adapter.getItem(key),
    setItem: (key, value) => adapter.setItem(key, value),
    removeItem: (key) => adapter.removeItem(key),
    keys: () => (adapter.keys ?? adapter.getAllKeys)?.call(adapter) ?? [],
    subscribe: (listener) => adapter.subscribe?.(listener) ?? (() => {}),
    open: (env, tab, adopt) => new Tabs(adapter, env, tab, adopt),
  };
}
