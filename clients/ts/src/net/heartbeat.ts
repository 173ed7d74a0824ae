import { Timer } from "../timers.js";
import type { Timers } from "../types.js";

/** The time limit for a pong, and the interval of clock checks, in milliseconds. */
const PONG_TIMEOUT_MS = 5_000;
const CHECK_MS = 5_000;

/** Detects a dead link. A jump of the clock means that the device slept; then a ping goes out at once. */
export class Heartbeat {
  readonly #timers: Timers;
  readonly #maxSilence: number;
  readonly #ping: () => void;
  readonly #onDead: () => void;
  readonly #checkTimer: Timer;
  readonly #pongTimer: Timer;
  #lastFrameAt: number;

  /**
   * @param maxSilence milliseconds without a frame before a ping
   * @param onDead called when a ping was not answered in time
   */
  constructor(timers: Timers, maxSilence: number, ping: () => void, onDead: () => void) {
    this.#timers = timers;
    this.#maxSilence = maxSilence;
    this.#ping = ping;
    this.#onDead = onDead;
    this.#checkTimer = new Timer(timers);
    this.#pongTimer = new Timer(timers);
    this.#lastFrameAt = timers.now();
    this.#scheduleCheck();
  }

  /** A frame was received. */
  received(): void {
    this.#lastFrameAt = this.#timers.now();
    this.#pongTimer.clear();
  }

  /** Sends a ping, unless one is already unanswered. */
  probe(): void {
    if (this.#pongTimer.pending) return;
    this.#pongTimer.set(PONG_TIMEOUT_MS, this.#onDead);
    this.#ping();
  }

  stop(): void {
    this.#checkTimer.clear();
    this.#pongTimer.clear();
  }

  #scheduleCheck(): void {
    const before = this.#timers.now();
    const due = this.#lastFrameAt + this.#maxSilence - before;
    const wait = due > 0 ? Math.min(CHECK_MS, due) : CHECK_MS;
    this.#checkTimer.set(wait, () => {
      const now = this.#timers.now();
      const jumped = Math.abs(now - before - wait) > PONG_TIMEOUT_MS;
      if (jumped || now - this.#lastFrameAt >= this.#maxSilence) this.probe();
      this.#scheduleCheck();
    });
  }
}
