import { asError, type TidingsError } from "../errors.js";
import { query } from "../net/http.js";
import { FORMS, must, only } from "../protocol/check.js";
import type { MessageObject } from "../protocol/objects.js";
import type { RoomImpl } from "./room.js";
import type { Page } from "./timeline.js";

/** A message that is being read again, as of `upto` at least; of no use once all that was held was let go. */
interface Reread {
  readonly generation: number;
  upto: number;
}

/** Reads messages of one room over HTTP, beside the newest page, which the log reads. */
export class Reader {
  readonly #room: RoomImpl;
  readonly #rereading = new Map<number, Reread>();
  #older: Promise<boolean> | undefined;

  constructor(room: RoomImpl) {
    this.#room = room;
  }

  /** Puts a page in front of what is held. False when there is nothing older. Rejects with TidingsError. */
  older(count: number): Promise<boolean> {
    this.#older ??= this.#loadOlder(count).finally(() => {
      this.#older = undefined;
    });
    return this.#older;
  }

  /** Reads one message again, as of a position at least. */
  again(seq: number, upto: number): void {
    const { generation } = this.#room.timeline;
    const asked = this.#rereading.get(seq);
    if (asked?.generation === generation) asked.upto = Math.max(asked.upto, upto);
    else void this.#readAgain(seq, { generation, upto });
  }

  async #loadOlder(count: number): Promise<boolean> {
    const { timeline, log } = this.#room;
    const before = timeline.first;
    if (!timeline.hasOlder || before === undefined) return false;
    const { generation } = timeline;
    timeline.begin();
    timeline.older(true);
    let error: TidingsError | undefined;
    try {
      const path = `/messages${query({ before, limit: count, upto: log.cursor?.seq })}`;
      const page = must(await this.#room.read<Page>(path), FORMS.page);
      if (timeline.generation === generation) timeline.prepend(page);
      return timeline.hasOlder;
    } catch (thrown) {
      error = asError(thrown);
      throw error;
    } finally {
      timeline.end();
      timeline.older(false, error);
    }
  }

  async #readAgain(seq: number, wanted: Reread): Promise<void> {
    const { timeline, log, core } = this.#room;
    this.#rereading.set(seq, wanted);
    timeline.begin();
    try {
      for (let upto = 0; upto !== wanted.upto; ) {
        upto = wanted.upto;
        const page = await this.#room.insist<Page>(
          () => timeline.generation === wanted.generation,
          FORMS.page,
          // The page tells up to where it is true, which the message alone does not. What the server's memory lost
          // never comes: then the log has gone back.
          () =>
            `/messages${query({ before: seq + 1, limit: 1, upto: Math.min(upto, log.cursor?.seq ?? upto) })}`,
        );
        if (!page) return;
        const [found] = only<MessageObject>(page.messages, FORMS.message);
        timeline.replace(seq, found?.seq === seq ? found : undefined, page.head.seq);
      }
    } catch (thrown) {
      core.env.report(thrown);
    } finally {
      if (this.#rereading.get(seq) === wanted) this.#rereading.delete(seq);
      timeline.end();
    }
  }
}
