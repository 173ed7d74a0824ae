import type { Env } from "../env.js";
import type { Entry } from "./entry.js";

/** Keeps the entries of the outbox somewhere beside the memory of this client. */
export interface Keeper {
  /** Whether others may have sent an entry. */
  unsure(clientId: string): boolean;
  /** Tells whose messages were written here last, looks for what was left, and goes on looking, until `stop`. */
  start(told: (user: string | undefined) => void): void;
  /** Gives up what is kept, so that others take it over. */
  stop(): void;
  /** Writes an entry down. Resolves also when that failed: sending goes on from memory. */
  save(entry: Entry): Promise<void>;
  /** Forgets an entry. */
  remove(clientId: string): void;
  /** Lets go of an entry without forgetting it: it is somebody else's. */
  leave(entry: Entry): void;
  /** Remembers whose messages are written here. */
  known(user: string): void;
}

/** Makes a keeper; `adopt` takes an entry that was left, unless it says no. */
export type OpenKeeper = (env: Env, tab: string, adopt: (entry: Entry) => boolean) => Keeper;
