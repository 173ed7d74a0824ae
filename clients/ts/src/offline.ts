/** A cache of rooms, members and messages, which is shown before the client is connected. */
import type { TidingsClient } from "./client.js";
import { OfflineCache, type OfflineOptions } from "./offline/cache.js";
import type { TidingsClientLike } from "./types.js";

export type { OfflineOptions } from "./offline/cache.js";

/** What `signOut` deletes. */
export interface SignOutOptions {
  /**
   * Also deletes the drafts, and the messages and changes that were not sent. By default they stay in the storage of the
   * client until the user signs in again.
   */
  readonly everything?: boolean | undefined;
}

const cacheOf = (client: TidingsClientLike): OfflineCache | undefined =>
  (client as Partial<TidingsClient>).features?.of(OfflineCache);

/**
 * Keeps the list of rooms, and the newest messages and the members of each room that was opened, in the client's
 * storage. Shows them until the client is connected, and then requests only what is missing. Call it before
 * `connect()`. Throws TidingsError `bad_request` if the client has no storage or no `account`.
 */
export function keepOffline(client: TidingsClientLike, options: OfflineOptions = {}): void {
  cacheOf(client)?.start(client as TidingsClient, options);
}

/**
 * Disconnects, and deletes what `keepOffline` has stored for the account. Other open tabs of the account stay connected
 * and store nothing more. Resolves when the data is deleted. Rejects if the storage fails.
 */
export async function signOut(client: TidingsClientLike, options: SignOutOptions = {}): Promise<void> {
  client.disconnect();
  await cacheOf(client)?.wipe(options.everything === true);
}
