import type { Core } from "../core.js";
import { asError, lasting } from "../errors.js";
import { Alarm } from "../timers.js";

const UNTOLD_MS = 2_000;

/** How far one has read a room, or messages have reached one: it only moves on, and is told until it is known. */
export class Mark {
  /** Where the server has it. */
  known = 0;
  readonly #core: Core;
  readonly #alarm: Alarm;
  readonly #type: "message:read" | "message:delivered";
  readonly #room: string;
  readonly #pause: number;
  readonly #stored: () => void;
  #wanted = 0;
  #asking = false;
  #turn = 0;

  /**
   * @param pause milliseconds in which several moves become one
   * @param stored is called when the server has it
   */
  constructor(
    core: Core,
    type: "message:read" | "message:delivered",
    room: string,
    pause: number,
    stored: () => void,
  ) {
    this.#core = core;
    this.#alarm = new Alarm(core.env.timers);
    this.#type = type;
    this.#room = room;
    this.#pause = pause;
    this.#stored = stored;
  }

  /** Moves it on; the server hears of it within `ms` milliseconds. */
  move(seq: number, ms = this.#pause): void {
    if (!(seq > this.#wanted)) return;
    this.#wanted = seq;
    this.#plan(ms);
  }

  /** The server has it here, whoever moved it. */
  moved(seq: number): void {
    this.known = Math.max(this.known, seq);
    this.#wanted = Math.max(this.#wanted, seq);
  }

  /** There is a connection again. */
  up(): void {
    this.#plan(0);
  }

  stop(): void {
    this.#alarm.clear();
  }

  /** It is another one's from now on. */
  forget(): void {
    this.stop();
    this.#turn++;
    this.#wanted = this.known = 0;
    this.#asking = false;
  }

  #plan(ms: number): void {
    if (this.#alarm.on || this.#asking || this.#wanted <= this.known) return;
    this.#alarm.set(ms, () => void this.#send());
  }

  async #send(): Promise<void> {
    const seq = this.#wanted;
    if (seq <= this.known || !this.#core.connection.up) return;
    const turn = this.#turn;
    this.#asking = true;
    let wait = this.#pause;
    try {
      await this.#core.connection.request({ type: this.#type, room: this.#room, seq });
      if (turn !== this.#turn) return;
      this.moved(seq);
      this.#stored();
    } catch (thrown) {
      const error = asError(thrown);
      // Not a member any more, say: told again it would be refused again.
      if (lasting(error) && turn === this.#turn) this.known = seq;
      wait = error.retryAfterMs ?? UNTOLD_MS;
    } finally {
      if (turn === this.#turn) {
        this.#asking = false;
        this.#plan(wait);
      }
    }
  }
}
