import type { Env } from "./env.js";
import { Timer } from "./timers.js";

/** How often the head of a partial list is read. */
const INTERVAL_MS = 60_000;
/** The longest random delay of a read, because all clients of a gateway that stops connect again at the same time. */
const MAX_SPREAD_MS = 5_000;
/**
 * How far a read of the head overlaps the one before. The list is ordered by the times of messages, and a message is
 * stored some time later.
 */
const OVERLAP_MS = 60_000;
/**
 * The most pages in one read. The kit follows up to 1,000 rooms, which are five pages, so a sixth page usually has an
 * unchanged room.
 */
const MAX_PAGES = 6;

/** One page of the user's list of rooms. */
export interface ListPage {
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

/** The list whose head is read. */
interface PartialList {
  /** Whether the kit is connected, and may not have read, or not follow, all rooms of the list. */
  readonly isPartial: boolean;
  /** The time of the last room before those that were not read yet; 0 if all were read. */
  readonly endTime: number;
  /** Reads a page, by default the first. */
  readPage(cursor?: string): Promise<ListPage>;
  /** Makes the list continue after this page, because further rooms have changed. */
  continueAfter(page: ListPage): void;
  /** Called after the changed rooms were read. */
  headRead(): void;
}

/**
 * Reads the head of the list of rooms again. The list is ordered by activity, so rooms with new activity move to its
 * head, out of the pages that follow. The kit gets no events of rooms that it does not follow.
 */
export class ListHead {
  /** The time of the newest room when the head was last read. */
  time = 0;
  readonly #env: Env;
  readonly #list: PartialList;
  readonly #timer: Timer;
  /** When the timer ends. */
  #due = 0;

  constructor(env: Env, list: PartialList) {
    this.#env = env;
    this.#list = list;
    this.#timer = new Timer(env.timers);
  }

  /** Reads the head after at least `ms` milliseconds, unless it is read earlier or the list is not partial. */
  schedule(ms = INTERVAL_MS): void {
    if (!this.#list.isPartial) return;
    const { timers, random, report } = this.#env;
    const due = timers.now() + ms + random() * MAX_SPREAD_MS;
    if (this.#timer.pending && this.#due <= due) return;
    this.#due = due;
    this.#timer.set(due - timers.now(), () => {
      this.read().catch((error) => {
        report(error);
        this.schedule();
      });
    });
  }

  /** Stops the scheduled read. */
  stop(): void {
    this.#timer.clear();
  }

  /**
   * Reads the rooms with activity since the last read, at most `MAX_PAGES` pages. If there are more such rooms, the list
   * continues with them, unless `keepsEnd` is set: then the next read looks for them again.
   */
  async read(keepsEnd = false): Promise<void> {
    const list = this.#list;
    const upto = Math.max(this.time - OVERLAP_MS, list.endTime);
    const first = await list.readPage();
    const hasMore = (page: ListPage) => page.next !== null && page.oldest > upto && !page.hasUnchanged;
    let page = first;
    for (let pages = 1; hasMore(page) && pages < MAX_PAGES; pages++)
      page = await list.readPage(page.next as string);
    const isCut = hasMore(page);
    if (isCut && !keepsEnd) list.continueAfter(page);
    if (!isCut || !keepsEnd) this.time = first.newest;
    list.headRead();
  }
}
