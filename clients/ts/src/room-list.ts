import type { Core } from "./core.js";
import { asError, TidingsError } from "./errors.js";
import { MAX_JOINED_ROOMS } from "./joins.js";
import { queryString } from "./net/http.js";
import { omitNullish } from "./omit-nullish.js";
import { assertShape, filterShape, SHAPES } from "./protocol/check.js";
import type { ServerFrame } from "./protocol/frames.js";
import type { MyRoomObject } from "./protocol/objects.js";
import { Listing } from "./room/listing.js";
import type { Rooms } from "./rooms.js";
import { derived } from "./store.js";
import { pause, retryUntilDone, Timer } from "./timers.js";
import type { RoomList, RoomListState } from "./types.js";

/** The most rooms in one page of the list. */
const PAGE_SIZE = 200;
/** How often the head of a partial list is read. */
const HEAD_INTERVAL_MS = 60_000;
/** The longest random delay of a read, because all clients of a gateway that stops connect again at the same time. */
const MAX_SPREAD_MS = 5_000;
/**
 * How far a read of the head overlaps the one before. The list is ordered by the times of messages, and a message is
 * stored some time later.
 */
const OVERLAP_MS = 60_000;
/**
 * The most pages in one read of the head. The kit follows up to 1,000 rooms, which are five pages, so a sixth page
 * usually has an unchanged room.
 */
const MAX_HEAD_PAGES = 6;

/** One page of the list. */
interface Page {
  readonly ids: string[];
  readonly version: string | undefined;
  /** The times of the last activity in the first and in the last room. */
  readonly newest: number;
  readonly oldest: number;
  /** Whether the page has an unchanged room that the kit does not follow. Rooms with new activity are above it. */
  readonly hasUnchanged: boolean;
  /** The cursor of the next page; null if this is the last one. */
  readonly next: string | null;
}

/**
 * The user's list of rooms, which is ordered by activity. Rooms with new activity move to its head, out of the pages
 * that follow. The kit gets no events of rooms that it does not follow, so it reads the head again.
 */
export class MyRooms implements RoomList {
  readonly #core: Core;
  readonly #rooms: Rooms;
  readonly #store = derived<RoomListState>(() => this.#state());
  #loaded = false;
  #nextCursor: string | null = null;
  /** The time of the last room before `#nextCursor`; 0 if there is no further page. */
  #endTime = 0;
  #version: string | undefined;
  #error: TidingsError | undefined;
  #reloading: Promise<void> | undefined;
  #reloadQueued = false;
  #userGeneration = 0;
  /** The time of the newest room when the head was last read. */
  #headTime = 0;
  readonly #headTimer: Timer;
  /** When the timer ends. */
  #headDue = 0;
  readonly get = this.#store.get;
  readonly subscribe = this.#store.subscribe;
  /** Must be called when the list entry of a room has changed. */
  readonly refresh = this.#store.refresh;

  constructor(core: Core, rooms: Rooms) {
    this.#core = core;
    this.#rooms = rooms;
    this.#headTimer = new Timer(core.env.timers);
  }

  readonly reload = (): Promise<void> => {
    this.#reloadQueued = this.#reloading !== undefined;
    if (this.#reloading) return this.#reloading;
    const reloading = this.#reload().finally(() => {
      if (this.#reloading !== reloading) return;
      this.#reloading = undefined;
      if (this.#reloadQueued) void this.reload().catch(() => {});
    });
    this.#reloading = reloading;
    return reloading;
  };

  readonly more = async (): Promise<void> => {
    if (this.#nextCursor === null) return;
    await this.#readPage(this.#nextCursor, true);
    // A room with new activity may have moved to the head of the list before its page was read. The end stays, so that
    // each call reads a further page.
    await this.#readHead(true);
  };

  /** Joins the rooms after a connect. Reads the list again unless its `version` is still the same. */
  up(version: string, spreadMs?: number): void {
    if (this.#loaded && version === this.#version && version !== "unknown") {
      this.#join();
      // The activity of rooms that are not joined has no replay.
      this.scheduleHead(0);
    } else void this.#loadUntilDone(spreadMs);
  }

  /** Stops the scheduled read. */
  down(): void {
    this.#headTimer.clear();
  }

  /** Drops the list of the earlier user, because another user has connected. */
  userChanged(): void {
    this.#userGeneration++;
    this.#reloading = undefined;
    this.#loaded = false;
    this.#error = undefined;
    this.#nextCursor = null;
    this.refresh();
  }

  /** Reads the list again, because the server has another version of it. */
  changed(version: string, spreadMs?: number): void {
    if (version !== this.#version) void this.#loadUntilDone(spreadMs);
  }

  /**
   * Reads a room that is not joined and has events for the user. Then joins it, with a cursor before these events. If
   * no further room can be joined, one read of the head of the list shows the activity of all such rooms.
   */
  async activity(frame: Extract<ServerFrame, { type: "room:activity" }>): Promise<void> {
    const { log, listing, opened } = this.#rooms.room(frame.room);
    if (log.joined || opened) return;
    log.cursor ??= frame.from;
    if (this.#rooms.joins.space <= 0) return this.scheduleHead(1_000);
    await listing.refresh(frame.seq);
    this.#join();
  }

  /** Reads the head after at least `ms` milliseconds, unless it is read earlier or the list is complete. */
  scheduleHead(ms = HEAD_INTERVAL_MS): void {
    const { connection, env } = this.#core;
    // The kit may have read, or may join, all rooms of the list.
    if (!connection.up || (this.#nextCursor === null && this.#rooms.all.size <= MAX_JOINED_ROOMS)) return;
    const due = env.timers.now() + ms + env.random() * MAX_SPREAD_MS;
    if (this.#headTimer.pending && this.#headDue <= due) return;
    this.#headDue = due;
    this.#headTimer.set(due - env.timers.now(), () => {
      this.#readHead().catch((error) => {
        env.report(error);
        this.scheduleHead();
      });
    });
  }

  #state(): RoomListState {
    const items = [...this.#rooms.all.values()]
      .filter((room) => !room.error)
      .flatMap(({ listing }) => listing.summary.value ?? [])
      .sort((a, b) => b.updatedAt - a.updatedAt || (a.id < b.id ? -1 : 1));
    return omitNullish({
      items,
      loaded: this.#loaded,
      hasMore: this.#nextCursor !== null,
      error: this.#error,
    });
  }

  /**
   * Reads the list, with retries. After the first failure the kit joins `mine` (the rooms that the gateway knows for
   * the user), so that messages arrive without the list. A list that is loaded is read at a random moment within
   * `spreadMs`, so that not all clients read at once.
   */
  async #loadUntilDone(spreadMs = 0): Promise<void> {
    const { env } = this.#core;
    const { all, joins } = this.#rooms;
    const { generation } = joins;
    let tried = this.#loaded;
    if (tried) {
      this.#join();
      await pause(env.timers, env.random() * spreadMs).done;
    }
    await retryUntilDone(
      env,
      () => generation === joins.generation,
      this.reload,
      () => {
        if (!tried) void joins.requestMany("mine", all.values()).catch(env.report);
        tried = true;
      },
    ).catch((error) => env.report(error));
  }

  async #reload(): Promise<void> {
    const page = await this.#readPage(undefined, true);
    this.#version = page.version;
    this.#headTime = page.newest;
    const seen = new Set(page.ids);
    // The user may have left a known room that is missing in the complete list, so the kit reads this room again.
    if (this.#nextCursor === null) {
      for (const room of this.#rooms.all.values()) {
        if (!seen.has(room.id) && room.listing.summary.value && !room.error) void room.listing.refresh(0);
      }
    }
    this.#join();
  }

  /**
   * Reads the rooms with activity since the last read, at most `MAX_HEAD_PAGES` pages. If there are more such rooms, the
   * list continues with them, unless `keepsEnd` is set: then the next read looks for them again.
   */
  async #readHead(keepsEnd = false): Promise<void> {
    const upto = Math.max(this.#headTime - OVERLAP_MS, this.#endTime);
    const first = await this.#readPage();
    const hasMore = (page: Page) => page.next !== null && page.oldest > upto && !page.hasUnchanged;
    let page = first;
    for (let pages = 1; hasMore(page) && pages < MAX_HEAD_PAGES; pages++)
      page = await this.#readPage(page.next as string);
    const isCut = hasMore(page);
    if (isCut && !keepsEnd) this.#continueAfter(page);
    if (!isCut || !keepsEnd) this.#headTime = first.newest;
    this.#join();
  }

  /** Makes `more` continue after this page. */
  #continueAfter({ next, oldest }: Page): void {
    this.#nextCursor = next;
    this.#endTime = next === null ? 0 : oldest;
    this.refresh();
  }

  /**
   * Reads a page of the list, by default the first, and updates its rooms. `isNew` says that `more` continues after
   * this page.
   */
  async #readPage(cursor?: string, isNew = false): Promise<Page> {
    const userGeneration = this.#userGeneration;
    const { removals } = Listing;
    try {
      const page = await this.#core.http<{
        rooms: unknown;
        next?: string | null;
        rooms_version?: string;
      }>("GET", `/me/rooms${queryString({ limit: PAGE_SIZE, cursor })}`);
      if (userGeneration !== this.#userGeneration) throw new TidingsError("disconnected");
      const objects = filterShape<MyRoomObject>(assertShape(page, "rooms:a").rooms, SHAPES.room);
      let hasUnchanged = false;
      for (const object of objects) {
        const room = this.#rooms.room(object.room);
        // Events keep a joined room current.
        if (!isNew && room.log.joined) continue;
        const time = timeOf(object);
        // A room that was read separately since the last read does not show whether the rooms below it have changed.
        hasUnchanged ||= time <= this.#headTime && room.listing.summary.value?.updatedAt === time;
        // The room may be newer than the list, because it was read separately or because its log is followed.
        if (room.log.cursor === undefined || room.log.cursor.seq <= object.head.seq) {
          if (!room.listing.applyRoom(object, removals)) continue;
        } else void room.listing.refresh(room.log.cursor.seq);
        if (!room.opened) room.log.cursor ??= object.head;
      }
      const { next = null, rooms_version: version } = page;
      const oldest = timeOf(objects.at(-1));
      const ids = objects.map(({ room }) => room);
      const read = { ids, version, newest: timeOf(objects[0]), oldest, hasUnchanged, next };
      if (isNew) this.#continueAfter(read);
      this.#loaded = true;
      this.#error = undefined;
      return read;
    } catch (thrown) {
      const error = asError(thrown);
      if (userGeneration === this.#userGeneration) this.#error = error;
      throw error;
    } finally {
      this.refresh();
    }
  }

  /** Joins the rooms of the list, and reads its head later for the rooms that cannot be joined. */
  #join(): void {
    this.scheduleHead();
    this.#rooms.joins.joinListed();
  }
}

const timeOf = (object?: MyRoomObject) => Date.parse(object?.updated_at as string) || 0;
