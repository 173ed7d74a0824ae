import { asError, type TidingsError } from "../errors.js";
import { query } from "../net/http.js";
import { FORMS, has, must, only } from "../protocol/check.js";
import type { MessageObject } from "../protocol/objects.js";
import { insist } from "../timers.js";
import type { RoomImpl } from "./room.js";
import type { Page } from "./timeline.js";

/** Reads messages of one room over HTTP, beside the newest page, which the log reads. */
export class Reader {
  readonly #room: RoomImpl;
  readonly #rereading = new Map<number, number>();
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
    const asked = this.#rereading.get(seq);
    this.#rereading.set(seq, Math.max(asked ?? 0, upto));
    if (asked === undefined) void this.#readAgain(seq);
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

  async #readAgain(seq: number): Promise<void> {
    const { timeline, core } = this.#room;
    const { env, limit } = core;
    const { generation } = timeline;
    timeline.begin();
    try {
      for (let upto = 0; upto !== this.#rereading.get(seq); ) {
        upto = this.#rereading.get(seq) ?? 0;
        // The page tells up to where it is true, which the message alone does not.
        const path = `/messages${query({ before: seq + 1, limit: 1, upto })}`;
        const page = await insist(
          env,
          () => timeline.generation === generation,
          () => limit(() => this.#room.read<Page>(path)),
        );
        if (!has(page, FORMS.page)) return;
        const [found] = only<MessageObject>((page as Page).messages, FORMS.message);
        timeline.replace(seq, found?.seq === seq ? found : undefined, (page as Page).head.seq);
      }
    } catch (thrown) {
      env.report(thrown);
    } finally {
      this.#rereading.delete(seq);
      timeline.end();
    }
  }
}
