import { asError, type TidingsError } from "../errors.js";
import { queryString } from "../net/http.js";
import { assertShape, filterShape, SHAPES } from "../protocol/check.js";
import type { MessageObject } from "../protocol/objects.js";
import type { RoomImpl } from "./room.js";
import type { Page } from "./timeline.js";

/**
 * A running read of one message, whose answer must include all events up to `upto`. The read ends when the generation
 * of the timeline changes.
 */
interface Reread {
  readonly generation: number;
  upto: number;
}

/** Reads older messages and single messages over HTTP. The newest page is read by `Log`. */
export class MessageReader {
  readonly #room: RoomImpl;
  readonly #rereading = new Map<number, Reread>();
  #older: Promise<boolean> | undefined;

  constructor(room: RoomImpl) {
    this.#room = room;
  }

  /**
   * Reads the page before the first message and inserts it. Resolves to whether the room has still older
   * messages. Rejects with TidingsError.
   */
  loadOlder(count: number): Promise<boolean> {
    this.#older ??= this.#loadOlder(count).finally(() => {
      this.#older = undefined;
    });
    return this.#older;
  }

  /**
   * Reads the message at `seq` again, because events cannot bring it up to date. The answer must include all events up
   * to `upto`.
   */
  reread(seq: number, upto: number): void {
    const { generation } = this.#room.timeline;
    const running = this.#rereading.get(seq);
    if (running?.generation === generation) running.upto = Math.max(running.upto, upto);
    else void this.#reread(seq, { generation, upto });
  }

  async #loadOlder(count: number): Promise<boolean> {
    const { timeline, log } = this.#room;
    const before = timeline.firstSeq;
    if (!timeline.hasOlder || before === undefined) return false;
    const { generation } = timeline;
    timeline.beginRead();
    timeline.setOlderState(true);
    let error: TidingsError | undefined;
    try {
      const path = `/messages${queryString({ before, limit: count, upto: log.cursor?.seq })}`;
      const page = assertShape(await this.#room.read<Page>(path), SHAPES.page);
      if (timeline.generation === generation) timeline.prepend(page);
      return timeline.hasOlder;
    } catch (thrown) {
      error = asError(thrown);
      throw error;
    } finally {
      timeline.endRead();
      timeline.setOlderState(false, error);
    }
  }

  async #reread(seq: number, wanted: Reread): Promise<void> {
    const { timeline, log, core } = this.#room;
    this.#rereading.set(seq, wanted);
    timeline.beginRead();
    try {
      for (let upto = 0; upto !== wanted.upto; ) {
        upto = wanted.upto;
        const page = await this.#room.retryRead<Page>(
          () => timeline.generation === wanted.generation,
          SHAPES.page,
          // Reads a page, because only a page has a head, which shows how recent the answer is. If Redis has lost
          // events, PostgreSQL may never reach `upto`, so the cursor of the log limits it.
          () =>
            `/messages${queryString({ before: seq + 1, limit: 1, upto: Math.min(upto, log.cursor?.seq ?? upto) })}`,
        );
        if (!page) return;
        const [found] = filterShape<MessageObject>(page.messages, SHAPES.message);
        timeline.replace(seq, found?.seq === seq ? found : undefined, page.head.seq);
      }
    } catch (thrown) {
      core.env.report(thrown);
    } finally {
      if (this.#rereading.get(seq) === wanted) this.#rereading.delete(seq);
      timeline.endRead();
    }
  }
}
