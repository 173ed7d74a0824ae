import { asError, TidingsError } from "../errors.js";
import { queryString } from "../net/http.js";
import { assertShape, filterShape, SHAPES } from "../protocol/check.js";
import type { MessageObject } from "../protocol/objects.js";
import type { RoomPosition } from "../types.js";
import type { RoomImpl } from "./room.js";
import type { Page } from "./timeline.js";

/** The number of messages in the first page, unless the window is smaller. */
export const PAGE_SIZE = 50;

/**
 * A running read of one message, whose answer must include all events up to `upto`. The read ends when the generation
 * of the timeline changes.
 */
interface RereadTask {
  readonly generation: number;
  upto: number;
}

/** Reads pages of messages and single messages over HTTP. The first page is read by `Log`. */
export class MessageReader {
  readonly #room: RoomImpl;
  readonly #rereads = new Map<number, RereadTask>();
  /** The running read of the page before or after the loaded messages. Only one such read runs at a time. */
  #pageRead: { older: boolean; done: Promise<boolean> } | undefined;
  #moveCount = 0;

  constructor(room: RoomImpl) {
    this.#room = room;
  }

  /**
   * Reads the page before the first message, or after the last one, and inserts it. Resolves to true if the room has
   * still more messages on that side. Rejects with TidingsError.
   */
  async load(older: boolean, count: number): Promise<boolean> {
    while (this.#pageRead && this.#pageRead.older !== older) await this.#pageRead.done.catch(() => {});
    this.#pageRead ??= {
      older,
      done: this.#load(older, count).finally(() => {
        this.#pageRead = undefined;
      }),
    };
    return this.#pageRead.done;
  }

  /** Returns the seq of a position, undefined for the end. `limit` is the number of messages in a page. */
  resolve(at: RoomPosition, limit: number): number | undefined {
    if (at !== "unread") return at === "end" ? undefined : at;
    const { listing, log, timeline } = this.#room;
    const { unread, readSeq = 0 } = listing.summary.value ?? {};
    // The newest page contains at least `limit` seqs, unless it ends at 1 MiB. Its first seq is known once it is
    // loaded.
    let firstSeq = (log.cursor?.seq ?? Number.POSITIVE_INFINITY) - limit + 1;
    if (timeline.loaded && !timeline.hasNewer) firstSeq = (timeline.hasOlder && timeline.firstSeq) || 0;
    return unread && readSeq && firstSeq > readSeq + 1 ? readSeq + 1 : undefined;
  }

  /** Drops all messages and loads those around a position, as if the room were opened. Ends an earlier move. */
  openAt(at: RoomPosition): void {
    this.#moveCount++;
    this.#room.timeline.clear();
    this.#room.log.loadAround(at);
  }

  /** Replaces the messages by those around a position. Resolves to true if the position is then loaded. */
  async moveTo(position: RoomPosition): Promise<boolean> {
    const { timeline, log } = this.#room;
    const move = ++this.#moveCount;
    if (!timeline.loaded) log.target = position;
    await this.#waitUntilLoaded();
    const at = this.resolve(position, PAGE_SIZE);
    // Stops here if a later call has replaced this move.
    if (timeline.includes(at) || move !== this.#moveCount) return timeline.includes(at);
    const { generation } = timeline;
    return timeline.duringRead(async () => {
      const page = await this.#read({ around: at, limit: PAGE_SIZE });
      if (move === this.#moveCount) {
        // If the log has loaded a page meanwhile, that page may be newer than this one.
        if (timeline.generation !== generation) return this.moveTo(position);
        timeline.load(page);
        // The newest page may end before the first unread message.
        if (at === undefined && !timeline.includes(this.resolve(position, PAGE_SIZE)))
          return this.moveTo(position);
      }
      return timeline.includes(at);
    });
  }

  /**
   * Reads the message at `seq` again, because events cannot bring it up to date. The answer must include all events up
   * to `upto`.
   */
  reread(seq: number, upto: number): void {
    const { generation } = this.#room.timeline;
    const running = this.#rereads.get(seq);
    if (running?.generation === generation) running.upto = Math.max(running.upto, upto);
    else void this.#reread(seq, { generation, upto });
  }

  /** Waits for the first page. Rejects with TidingsError if the room is not open or has failed. */
  #waitUntilLoaded(): Promise<void> {
    const room = this.#room;
    return new Promise((resolve, reject) => {
      const check = (): void => {
        const { error, opened, timeline } = room;
        if (!error && opened && !timeline.loaded) return;
        unsubscribe();
        if (!error && opened) resolve();
        else reject(error ?? new TidingsError("closed", "The room is not open"));
      };
      // The phase changes after each load.
      const unsubscribe = room.state.subscribe(check);
      check();
    });
  }

  async #read(query: { [name: string]: number | undefined }): Promise<Page> {
    const { cursor } = this.#room.log;
    const path = `/messages${queryString({ ...query, upto: cursor?.seq, system_events: "true" })}`;
    return assertShape(await this.#room.read<Page>(path), SHAPES.page);
  }

  async #load(older: boolean, limit: number): Promise<boolean> {
    const { timeline } = this.#room;
    const hasMore = () => (older ? timeline.hasOlder : timeline.hasNewer);
    const from = older ? timeline.firstSeq : timeline.lastSeq;
    if (!hasMore() || from === undefined) return false;
    const { generation } = timeline;
    timeline.setLoading(older ? "older" : "newer");
    let error: TidingsError | undefined;
    try {
      return await timeline.duringRead(async () => {
        const page = await this.#read({ [older ? "before" : "after"]: from, limit });
        if (timeline.generation === generation) timeline.extend(page, older);
        return hasMore();
      });
    } catch (thrown) {
      // An error of an earlier window must not be shown in the present one.
      if (timeline.generation === generation) error = asError(thrown);
      throw thrown;
    } finally {
      timeline.setLoading(undefined, error);
    }
  }

  async #reread(seq: number, task: RereadTask): Promise<void> {
    const { timeline, log, core } = this.#room;
    this.#rereads.set(seq, task);
    try {
      await timeline.duringRead(async () => {
        for (let upto = 0; upto !== task.upto; ) {
          upto = task.upto;
          const page = await this.#room.retryRead<Page>(
            () => timeline.generation === task.generation,
            SHAPES.page,
            // Reads a page, because only a page has a head, which shows how recent the answer is. If Redis has lost
            // events, PostgreSQL may never reach `upto`, so the cursor of the log limits `upto`.
            () =>
              `/messages${queryString({ before: seq + 1, limit: 1, upto: Math.min(upto, log.cursor?.seq ?? upto) })}`,
          );
          if (!page) return;
          const [found] = filterShape<MessageObject>(page.messages, SHAPES.message);
          timeline.replace(seq, found?.seq === seq ? found : undefined, page.head.seq);
        }
      });
    } catch (thrown) {
      core.env.report(thrown);
    } finally {
      if (this.#rereads.get(seq) === task) this.#rereads.delete(seq);
    }
  }
}
