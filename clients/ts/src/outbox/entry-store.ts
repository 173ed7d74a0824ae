import type { Env } from "../env.js";
import type { Entry } from "./entry.js";

/** Persists the entries of the outbox outside the memory of this client. */
export interface EntryStore {
  /** Whether another tab may have sent an entry. */
  maybeSent(clientId: string): boolean;
  /**
   * Reports the last user of this storage and adopts entries that other tabs left. Looks
   * for more such entries until `stop`.
   */
  start(onLastUser: (user: string | undefined) => void): void;
  /** Releases all entries, so that other tabs can adopt them. */
  stop(): void;
  /** Writes an entry. Resolves also when the write failed, because sending continues from memory. */
  save(entry: Entry): Promise<void>;
  /** Deletes an entry. */
  remove(clientId: string): void;
  /** Releases an entry without deleting it, because it belongs to another user. */
  release(entry: Entry): void;
  /** Stores the id of the current user. The next `start` reports it as the last user. */
  saveUser(user: string): void;
}

/** Opens a store. `adopt` takes an entry that another tab left; it returns false to refuse it. */
export type OpenEntryStore = (env: Env, tab: string, adopt: (entry: Entry) => boolean) => EntryStore;
