import { backoff } from "./backoff.js";
import { asError, lasting, TidingsError } from "./errors.js";
import type { Timers } from "./types.js";

/** The timers of the platform. */
export const systemTimers: Timers = {
  now: () => Date.now(),
  setTimeout: (run, ms) => globalThis.setTimeout(run, Math.min(ms, 0x7fffffff)),
  clearTimeout: (handle) => globalThis.clearTimeout(handle as number),
};

/** One timer: set again it goes off only at the later time. */
export class Alarm {
  readonly #timers: Timers;
  #handle: unknown;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Whether it will go off. */
  get on(): boolean {
    return this.#handle !== undefined;
  }

  /** Goes off after that many milliseconds, and not at the time that was set before. */
  set(ms: number, run: () => void): void {
    this.clear();
    this.#handle = this.#timers.setTimeout(() => {
      this.#handle = undefined;
      run();
    }, ms);
  }

  clear(): void {
    this.#timers.clearTimeout(this.#handle);
    this.#handle = undefined;
  }
}

/** A pause that can be cut short. */
export interface Pause {
  readonly done: Promise<void>;
  readonly end: () => void;
}

/** Waits that many milliseconds, or until `end` is called. */
export function pause(timers: Timers, ms: number): Pause {
  const alarm = new Alarm(timers);
  let end = () => {};
  const done = new Promise<void>((resolve) => {
    end = () => {
      alarm.clear();
      resolve();
    };
    alarm.set(ms, resolve);
  });
  return { done, end };
}

/** Waits for an answer, but no longer than that many milliseconds. Rejects with TidingsError `timeout` then. */
export async function within<T>(timers: Timers, ms: number, ask: () => T | Promise<T>): Promise<T> {
  const alarm = new Alarm(timers);
  try {
    return await Promise.race([
      ask(),
      new Promise<never>((_, reject) => alarm.set(ms, () => reject(new TidingsError("timeout")))),
    ]);
  } finally {
    alarm.clear();
  }
}

/** What keeps on trying is given. */
interface Tries {
  readonly timers: Timers;
  readonly random: () => number;
}

/**
 * Tries until it works, with growing pauses. Nothing comes of it once `alive` says no.
 * @param failed hears of each failure that is not final
 * @throws TidingsError of a final refusal
 */
export async function insist<T>(
  env: Tries,
  alive: () => boolean,
  work: () => Promise<T>,
  failed?: (error: TidingsError) => void,
): Promise<T | undefined> {
  for (let tries = 1; alive(); tries++) {
    try {
      const done = await work();
      return alive() ? done : undefined;
    } catch (thrown) {
      const error = asError(thrown);
      if (!alive()) break;
      if (lasting(error) || error.after !== undefined) throw error;
      failed?.(error);
      await pause(env.timers, backoff(tries, env.random, error.retryAfterMs)).done;
    }
  }
  return undefined;
}
