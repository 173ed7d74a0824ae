import { Alarm } from "../timers.js";
import type { Timers } from "../types.js";

/** How long an answer to a ping may take, and how often is looked at the clock, in milliseconds. */
const PONG_MS = 5_000;
const LOOK_MS = 5_000;

/**
 * Finds out that nobody is there any more. A clock that jumped means that the device slept: then nothing
 * of what was heard before counts, and a ping goes out at once.
 */
export class Heartbeat {
  readonly #timers: Timers;
  readonly #every: number;
  readonly #ping: () => void;
  readonly #dead: () => void;
  readonly #look: Alarm;
  readonly #deadline: Alarm;
  #heard: number;

  /** @param every milliseconds of silence after which is asked */
  constructor(timers: Timers, every: number, ping: () => void, dead: () => void) {
    this.#timers = timers;
    this.#every = every;
    this.#ping = ping;
    this.#dead = dead;
    this.#look = new Alarm(timers);
    this.#deadline = new Alarm(timers);
    this.#heard = timers.now();
    this.#plan();
  }

  /** Something came. */
  heard(): void {
    this.#heard = this.#timers.now();
    this.#deadline.clear();
  }

  /** Asks now, unless it is asking already. */
  probe(): void {
    if (this.#deadline.on) return;
    this.#deadline.set(PONG_MS, this.#dead);
    this.#ping();
  }

  stop(): void {
    this.#look.clear();
    this.#deadline.clear();
  }

  #plan(): void {
    const before = this.#timers.now();
    const due = this.#heard + this.#every - before;
    const wait = due > 0 ? Math.min(LOOK_MS, due) : LOOK_MS;
    this.#look.set(wait, () => {
      const now = this.#timers.now();
      const jumped = Math.abs(now - before - wait) > PONG_MS;
      if (jumped || now - this.#heard >= this.#every) this.probe();
      this.#plan();
    });
  }
}
