import { ChangesFeature } from "../change/changes.js";
import { invalidOption } from "../check-options.js";
import type { TidingsClient } from "../client.js";
import type { Core } from "../core.js";
import { TidingsError } from "../errors.js";
import type { Feature } from "../feature.js";
import { omitNullish } from "../omit-nullish.js";
import type { RoomImpl } from "../room/room.js";
import type { Rooms } from "../rooms.js";
import type { Cell } from "../store.js";
import { Timer } from "../timers.js";
import type { Me, StorageAdapter } from "../types.js";
import { CacheStorage } from "./cache-storage.js";
import { decodeRoom, decodeUser, encodeUser, type RoomRecord } from "./record.js";
import { restoreSummary, showPage } from "./restore.js";
import { RoomSnapshots } from "./snapshots.js";

/** How long the cache collects changes before it writes them, in milliseconds. */
const WRITE_DELAY_MS = 1_000;

/** The limits and the storage of the cache. */
export interface OfflineOptions {
  /** The most rooms that are kept, by default 200. The rooms without recent activity are dropped first. */
  readonly maxRooms?: number | undefined;
  /** The most messages that are kept of a room, by default 50. */
  readonly maxMessages?: number | undefined;
  /** The most bytes that are kept of a room, as JSON, by default 64 KiB. */
  readonly maxRoomBytes?: number | undefined;
  /** The most bytes that are kept of all rooms together, by default 2 MiB. */
  readonly maxBytes?: number | undefined;
  /** Where the cache is kept. The default is the storage of the client. */
  readonly storage?: StorageAdapter | undefined;
}

/** The limits with their defaults. */
const DEFAULT_LIMITS = { maxRooms: 200, maxMessages: 50, maxRoomBytes: 65_536, maxBytes: 2_097_152 };

export type Limits = typeof DEFAULT_LIMITS;

/** Keeps the rooms of the user of one client in a storage, and restores them before the client is connected. */
export class OfflineCache implements Feature {
  readonly #core: Core;
  readonly #writeTimer: Timer;
  #client: TidingsClient | undefined;
  #storage: CacheStorage | undefined;
  #snapshots: RoomSnapshots | undefined;
  /** Whether changes are written: from `start` until a sign-out, in this tab or in another one, or a failed write. */
  #active = false;
  /** The user to whom the stored data belongs; undefined while nothing was restored or written. */
  #user: string | undefined;
  /** The running work on the storage. Each one waits for the one before. */
  #work: Promise<unknown> = Promise.resolve();
  /** End the subscriptions that last until the cache stops, and those that last until the client closes. */
  #unsubscribe: (() => void)[] = [];
  #unsubscribePlatform: (() => void)[] = [];

  constructor(core: Core) {
    this.#core = core;
    this.#writeTimer = new Timer(core.env.timers);
  }

  get #rooms(): Rooms {
    return this.#core.outbox.rooms as Rooms;
  }

  /** Restores the cache, and then keeps it current. Throws TidingsError `bad_request`. */
  start(client: TidingsClient, { storage, ...limits }: OfflineOptions): void {
    if (this.#active) return;
    const { env } = this.#core;
    const adapter = storage ?? (env.storage as Partial<StorageAdapter> | undefined);
    if (!adapter?.getItem) throw invalidOption("storage", "be a storage", typeof adapter);
    // The cache is shown before the server names the user, so the app must say whose cache it is.
    if (!env.account) throw invalidOption("account", "be the id of the user", typeof env.account);
    this.#client = client;
    this.#storage = new CacheStorage(adapter as StorageAdapter, env);
    this.#snapshots = new RoomSnapshots(this.#core, { ...DEFAULT_LIMITS, ...omitNullish(limits) });
    this.#active = true;
    this.#unsubscribe = [this.#rooms.list.subscribe(() => this.#planWrite())];
    this.#run((running) => this.#restore(running));
  }

  /** Stores the user, because the client has connected. */
  up(): void {
    const me = this.#core.me();
    if (!this.#active || !me) return;
    const isKnown = this.#user === me.id;
    this.#user = me.id;
    this.#listen();
    this.#run(async (storage) => {
      const stored = decodeUser(await storage.read("me"));
      // The user of this page is missing, so another tab has signed out.
      if (isKnown && stored?.id !== me.id) return this.#stop();
      if (stored && stored.id !== me.id) await storage.clear();
      await storage.write("me", encodeUser(me));
    });
    this.#planWrite();
  }

  /** Writes the last changes if the kit will not reconnect, because the app may be closing. */
  down(ended?: TidingsError): void {
    if (!ended) return;
    this.#write();
    for (const unsubscribe of this.#unsubscribePlatform.splice(0)) unsubscribe();
  }

  /** Deletes the data of the earlier user, because another user has connected. */
  userChanged(): void {
    this.#user = undefined;
    this.#snapshots?.clear();
    this.#run((storage) => storage.clear());
  }

  /** Deletes the stored data, and with `everything` all data of the account. Nothing is written afterwards. */
  async wipe(everything: boolean): Promise<void> {
    const { outbox, env } = this.#core;
    this.#stop();
    await this.#work;
    const own = CacheStorage.of(env);
    // A client without a cache may still have data of an earlier page.
    await (this.#storage ?? own)?.clear();
    if (!everything) return;
    const rooms = new Set(
      [...outbox.get(), ...this.#rooms.list.get().items].map((of) => ("room" in of ? of.room : of.id)),
    );
    for (const room of rooms) for (const { clientId } of outbox.entriesOf(room)) outbox.discard(clientId);
    await own?.clearAccount();
  }

  /** Opens a channel between the tabs of the account; undefined without an account, or where there are no channels. */
  signOutChannel(): BroadcastChannel | undefined {
    const { account } = this.#core.env;
    if (account === undefined || typeof BroadcastChannel === "undefined") return undefined;
    return new BroadcastChannel(`tidings/${account}/sign-out`);
  }

  /** Stops to keep the cache. */
  #stop(): void {
    this.#active = false;
    this.#writeTimer.clear();
    this.#snapshots?.clear();
    for (const unsubscribe of [...this.#unsubscribe.splice(0), ...this.#unsubscribePlatform.splice(0)])
      unsubscribe();
  }

  /** Listens to the page and to the other tabs while the client is connected. */
  #listen(): void {
    if (this.#unsubscribePlatform.length) return;
    const { lifecycle, report } = this.#core.env;
    try {
      this.#unsubscribePlatform = [
        lifecycle.subscribe((event) => {
          // The page may be discarded after these events.
          if (event === "hide" || event === "hidden") this.#write();
        }),
        this.#storage?.subscribe(() =>
          this.#run(async (storage) => {
            if (this.#user && (await this.#isForeign(storage))) this.#stop();
          }),
        ) ?? (() => {}),
      ];
    } catch (thrown) {
      report(thrown);
    }
  }

  /** Whether another tab has signed out, or has stored another user. */
  async #isForeign(storage: CacheStorage): Promise<boolean> {
    return decodeUser(await storage.read("me"))?.id !== this.#user;
  }

  async #restore(storage: CacheStorage): Promise<void> {
    const me = decodeUser(await storage.read("me"));
    const records: RoomRecord[] = [];
    for (const [key, text] of await storage.readRooms()) {
      const record = decodeRoom(text);
      if (!record || storage.roomKey(record.summary.id) !== key)
        this.#core.env.report(new TidingsError("internal", "an entry of the cache is damaged"));
      else if (record.user === me?.id) {
        records.push(record);
        continue;
      }
      await storage.remove(key);
    }
    if (me && this.#active) this.#apply(me, records);
  }

  /** Shows the records. If the client has connected meanwhile, only remembers what is stored, for the limits. */
  #apply(me: Me, records: readonly RoomRecord[]): void {
    const client = this.#client as TidingsClient;
    const isLate = this.#core.connection.up;
    if ((this.#core.me() ?? me).id !== me.id) return;
    if (!isLate) {
      this.#user = me.id;
      (client.me as Cell<Me | undefined>).set(me);
    }
    for (const record of records) {
      const room = this.#rooms.room(record.summary.id);
      if (this.#snapshots?.recordOf(room)) continue;
      this.#snapshots?.add(room, record);
      if (!isLate && !room.error && !room.listing.summary.value) restoreSummary(room, record);
      this.#showWhenOpened(room);
    }
  }

  /** Shows the kept page whenever the room is opened without a connection, and the changes that earlier pages left. */
  #showWhenOpened(room: RoomImpl): void {
    const show = () => {
      if (room.opened) room.features.of(ChangesFeature);
      const record = this.#snapshots?.recordOf(room);
      if (record) showPage(room, record);
    };
    this.#unsubscribe.push(room.state.subscribe(show));
    show();
  }

  #planWrite(): void {
    if (this.#active && !this.#writeTimer.pending) this.#writeTimer.set(WRITE_DELAY_MS, () => this.#write());
  }

  /** Writes what has changed. */
  #write(): void {
    this.#writeTimer.clear();
    const user = this.#core.me()?.id;
    const snapshots = this.#snapshots;
    if (!this.#active || !snapshots || !user || user !== this.#user) return;
    const { texts, dropped } = snapshots.take(this.#rooms, user, (room) => this.#showWhenOpened(room));
    if (!texts.length && !dropped.length) return;
    this.#run(async (storage) => {
      if (await this.#isForeign(storage)) return this.#stop();
      for (const id of dropped) await storage.remove(storage.roomKey(id));
      for (const [room, text, isOwnPage] of texts) {
        const key = storage.roomKey(room.id);
        const merged = isOwnPage ? undefined : snapshots.merge(room, await storage.read(key));
        await storage.write(key, merged ?? text);
      }
      // Another tab may have signed out during the writes.
      if (!(await this.#isForeign(storage))) return;
      this.#stop();
      for (const [{ id }] of texts) await storage.remove(storage.roomKey(id));
    });
  }

  /** Runs work on the storage after all earlier work. A failure is reported and stops the cache. */
  #run(work: (storage: CacheStorage) => Promise<unknown>): void {
    const storage = this.#storage;
    this.#work = this.#work
      .then(() => (storage && this.#active ? work(storage) : undefined))
      .catch((thrown) => {
        this.#stop();
        this.#core.env.report(thrown);
      });
  }
}
