import type { Core } from "../core.js";
import { asError, isPermanent } from "../errors.js";
import { Timer } from "../timers.js";

const DEFAULT_RETRY_MS = 2_000;

/**
 * A read or delivered mark of the current user. It only moves forward; the kit sends it until the server has
 * it.
 */
export class Watermark {
  /** The mark that the server is known to have. */
  stored = 0;
  readonly #core: Core;
  readonly #timer: Timer;
  readonly #type: "message:read" | "message:delivered";
  readonly #room: string;
  readonly #delay: number;
  readonly #onConfirmed: () => void;
  #wanted = 0;
  #sending = false;
  #generation = 0;

  /**
   * @param delay milliseconds in which several moves are sent as one
   * @param onConfirmed called when the server has the mark
   */
  constructor(
    core: Core,
    type: "message:read" | "message:delivered",
    room: string,
    delay: number,
    onConfirmed: () => void,
  ) {
    this.#core = core;
    this.#timer = new Timer(core.env.timers);
    this.#type = type;
    this.#room = room;
    this.#delay = delay;
    this.#onConfirmed = onConfirmed;
  }

  /** Moves the mark forward; it is sent within `ms` milliseconds. */
  move(seq: number, ms = this.#delay): void {
    if (!(seq > this.#wanted)) return;
    this.#wanted = seq;
    this.#schedule(ms);
  }

  /** The server has stored the mark at `seq`. This device or another one may have moved it. */
  confirm(seq: number): void {
    this.stored = Math.max(this.stored, seq);
    this.#wanted = Math.max(this.#wanted, seq);
  }

  /** The client is connected again. */
  up(): void {
    this.#schedule(0);
  }

  stop(): void {
    this.#timer.clear();
  }

  /** Starts again for another user or another membership. */
  reset(): void {
    this.stop();
    this.#generation++;
    this.#wanted = this.stored = 0;
    this.#sending = false;
  }

  #schedule(ms: number): void {
    if (this.#timer.pending || this.#sending || this.#wanted <= this.stored) return;
    this.#timer.set(ms, () => void this.#send());
  }

  async #send(): Promise<void> {
    const seq = this.#wanted;
    if (seq <= this.stored || !this.#core.connection.up) return;
    const generation = this.#generation;
    this.#sending = true;
    let wait = this.#delay;
    try {
      await this.#core.connection.request({ type: this.#type, room: this.#room, seq });
      if (generation !== this.#generation) return;
      this.confirm(seq);
      this.#onConfirmed();
    } catch (thrown) {
      const error = asError(thrown);
      // A permanent refusal, for example of a removed member, would come again. The mark counts
      // as stored, so no retry follows.
      if (isPermanent(error) && generation === this.#generation) this.stored = seq;
      wait = error.retryAfterMs ?? DEFAULT_RETRY_MS;
    } finally {
      if (generation === this.#generation) {
        this.#sending = false;
        this.#schedule(wait);
      }
    }
  }
}
