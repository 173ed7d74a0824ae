import type { OutboxStorage, StorageAdapter, TidingsClient } from "../../src/index.js";
import { customStorage, memoryStorage } from "../../src/storage.js";
import { type TestClientOptions, TestNetwork } from "../../src/testing.js";
import { checkStep } from "./transitions.js";

/** The options of a client for a user; the storage may be any adapter. */
export type Options = Omit<TestClientOptions, "storage"> & {
  storage?: StorageAdapter | OutboxStorage | undefined;
};

/** A test network whose clients check each step of their connection. */
export class World extends TestNetwork {
  constructor(rooms: string[] = ["r"]) {
    super({ rooms });
  }

  override client({ storage, ...options }: Options = {}): TidingsClient {
    const custom = storage && "getItem" in storage ? customStorage(storage) : storage;
    return super.client({ debug: checkStep, storage: custom, ...options });
  }
}

/** A storage that survives its clients. A killed tab cannot write to it any more. */
export function sharedDisk(): StorageAdapter & { tab(): StorageAdapter & { kill(): void } } {
  const inner = memoryStorage();
  return {
    ...inner,
    tab() {
      let dead = false;
      return {
        getItem: (key) => inner.getItem(key),
        setItem: (key, value) => (dead ? undefined : inner.setItem(key, value)),
        removeItem: (key) => (dead ? undefined : inner.removeItem(key)),
        keys: () => inner.keys?.() ?? [],
        kill: () => {
          dead = true;
        },
      };
    },
  };
}
