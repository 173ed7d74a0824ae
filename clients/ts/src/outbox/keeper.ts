import type { Env } from "../env.js";
import type { Entry } from "./entry.js";

/** Keeps the entries of the outbox somewhere beside the memory of this client. */
export interface Keeper {
  /** Whether others may have sent an entry. */
  unsure(clientId: string): boolean;
  /** Looks for what was left, and goes on looking. Resolves when it has looked once. */
  start(): Promise<void>;
  /** Gives up what is kept, so that others take it over. */
  stop(): void;
  /** Writes an entry down. Resolves also when that failed: sending goes on from memory. */
  save(entry: Entry): Promise<void>;
  /** Forgets an entry. */
  remove(clientId: string): void;
  /** Lets go of an entry without forgetting it: it is somebody else's. */
  leave(entry: Entry): void;
  /** Whose messages were written here last. */
  user(): Promise<string | undefined>;
  /** Remembers whose messages are written here. */
  known(user: string): void;
}

/** Makes a keeper; `adopt` takes an entry that was left, unless it says no. */
export type OpenKeeper = (env: Env, tab: string, adopt: (entry: Entry) => boolean) => Keeper;
