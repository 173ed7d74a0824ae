import type { Env } from "../env.js";
import type { StorageAdapter } from "../types.js";

/** The keys of the cache of one account: `me`, and `room/ID` for each room. */
export class CacheStorage {
  readonly #adapter: StorageAdapter;
  readonly #accountPrefix: string;
  readonly #prefix: string;

  constructor(adapter: StorageAdapter, { account }: Env) {
    this.#adapter = adapter;
    this.#accountPrefix = `tidings/${account ?? "default"}/`;
    this.#prefix = `${this.#accountPrefix}cache/`;
  }

  /** The cache in the storage of the client; undefined if the client has no storage that can keep it. */
  static of(env: Env): CacheStorage | undefined {
    const storage = env.storage as Partial<StorageAdapter> | undefined;
    return storage?.getItem ? new CacheStorage(storage as StorageAdapter, env) : undefined;
  }

  /** The key of a room, for `write` and `remove`. */
  roomKey(id: string): string {
    return `room/${id}`;
  }

  async read(key: string): Promise<string | null> {
    return this.#adapter.getItem(this.#prefix + key);
  }

  async write(key: string, text: string): Promise<void> {
    await this.#adapter.setItem(this.#prefix + key, text);
  }

  async remove(key: string): Promise<void> {
    await this.#adapter.removeItem(this.#prefix + key);
  }

  /** Returns the key and the text of each room. */
  async readRooms(): Promise<readonly (readonly [key: string, text: string])[]> {
    const keys = (await this.#keysBelow(`${this.#prefix}room/`)).map((key) => key.slice(this.#prefix.length));
    const texts = await Promise.all(keys.map(async (key) => [key, (await this.read(key)) ?? ""] as const));
    return texts.filter(([, text]) => text);
  }

  /** Deletes the cache. The user is deleted first, so that another tab that writes a room now finds no user. */
  async clear(): Promise<void> {
    await this.remove("me");
    await this.#removeBelow(this.#prefix);
  }

  /** Deletes all data of the account, also drafts and unsent messages. */
  clearAccount(): Promise<void> {
    return this.#removeBelow(this.#accountPrefix);
  }

  /** Calls the listener when another tab may have changed the user of the cache. */
  subscribe(listener: () => void): () => void {
    return (
      this.#adapter.subscribe?.((key) => {
        if (key === null || key === `${this.#prefix}me`) listener();
      }) ?? (() => {})
    );
  }

  async #removeBelow(prefix: string): Promise<void> {
    for (const key of await this.#keysBelow(prefix)) await this.#adapter.removeItem(key);
  }

  async #keysBelow(prefix: string): Promise<string[]> {
    const { keys, getAllKeys } = this.#adapter;
    const all = (await (keys ?? getAllKeys)?.call(this.#adapter)) ?? [];
    return all.filter((key) => key.startsWith(prefix));
  }
}
