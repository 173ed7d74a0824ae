/** A cache of rooms, members and messages, which is shown before the client is connected. */
import type { TidingsClient } from "./client.js";
import { OfflineCache, type OfflineOptions } from "./offline/cache.js";
import type { TidingsClientLike } from "./types.js";

export type { OfflineOptions } from "./offline/cache.js";

/** What `signOut` deletes. */
export interface SignOutOptions {
  /**
   * Whether also the drafts, and the messages and changes that were not sent, are deleted; by default true. With false
   * they stay in the storage of the client, where the next user of the device can find them, until the user signs in again.
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
 * Disconnects, and deletes what the storage of the client has of the account. Tells the other open tabs of the account,
 * which must call `onSignOut`; without it they stay connected and store no rooms any more. Resolves when the data is
 * deleted. Rejects if the storage fails.
 */
export async function signOut(
  client: TidingsClientLike,
  { everything = true }: SignOutOptions = {},
): Promise<void> {
  client.disconnect();
  const cache = cacheOf(client);
  try {
    await cache?.wipe(everything);
  } finally {
    const channel = cache?.signOutChannel();
    channel?.postMessage(everything);
    channel?.close();
  }
}

/**
 * Signs out when another tab of the account has called `signOut`, then calls the listener. Needs the option `account`,
 * and a platform with `BroadcastChannel`. Returns a function that ends this.
 */
export function onSignOut(client: TidingsClientLike, listener: () => void): () => void {
  const cache = cacheOf(client);
  const channel = cache?.signOutChannel();
  if (!cache || !channel) return () => {};
  channel.onmessage = ({ data }) => {
    client.disconnect();
    // The other tab has deleted the same data, and reports a storage that fails.
    void cache.wipe(data === true).catch(() => {});
    listener();
  };
  return () => channel.close();
}
