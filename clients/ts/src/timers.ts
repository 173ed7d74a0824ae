import { backoffMs } from "./backoff.js";
import type { Env } from "./env.js";
import { asError, isPermanent, TidingsError } from "./errors.js";
import type { Timers } from "./types.js";

/** The longest time that a timer of the platform supports, in milliseconds. */
export const MAX_TIMER_MS = 0x7fffffff;

/** The clock and the timers of the platform. */
export const systemTimers: Timers = {
  now: () => Date.now(),
  setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
  clearTimeout: (handle) => globalThis.clearTimeout(handle as number),
};

/** A timer that holds at most one function. A new `set` cancels the earlier one. */
export class Timer {
  readonly #timers: Timers;
  #handle: unknown;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Whether a function waits to run. */
  get pending(): boolean {
    return this.#handle !== undefined;
  }

  /** Runs the function after `ms` milliseconds, at most `MAX_TIMER_MS`, unless `clear` or another `set` cancels it. */
  set(ms: number, run: () => void): void {
    this.clear();
    this.#handle = this.#timers.setTimeout(
      () => {
        this.#handle = undefined;
        run();
      },
      Math.min(ms, MAX_TIMER_MS),
    );
  }

  clear(): void {
    this.#timers.clearTimeout(this.#handle);
    this.#handle = undefined;
  }
}

/** A pause that can be ended early. */
export interface Pause {
  readonly done: Promise<void>;
  readonly end: () => void;
}

/** Waits `ms` milliseconds, or until `end` is called. */
export function pause(timers: Timers, ms: number): Pause {
  const timer = new Timer(timers);
  let end = () => {};
  const done = new Promise<void>((resolve) => {
    end = () => {
      timer.clear();
      resolve();
    };
    timer.set(ms, resolve);
  });
  return { done, end };
}

/** Runs work. Rejects with TidingsError `timeout` if the work takes more than `ms` milliseconds. */
export async function withTimeout<T>(timers: Timers, ms: number, work: () => T | Promise<T>): Promise<T> {
  const timer = new Timer(timers);
  try {
    return await Promise.race([
      work(),
      new Promise<never>((_, reject) => timer.set(ms, () => reject(new TidingsError("timeout")))),
    ]);
  } finally {
    timer.clear();
  }
}

/**
 * Repeats work with growing pauses until it succeeds. Resolves with undefined once `alive` returns false.
 * @param failed called for each failure that is not permanent
 * @throws TidingsError when the refusal is permanent, or when the epoch of the request has ended (`error.after`)
 */
export async function retryUntilDone<T>(
  env: Pick<Env, "timers" | "random">,
  alive: () => boolean,
  work: () => Promise<T>,
  failed?: (error: TidingsError) => void,
): Promise<T | undefined> {
  for (let attempt = 1; alive(); attempt++) {
    try {
      const result = await work();
      return alive() ? result : undefined;
    } catch (thrown) {
      const error = asError(thrown);
      if (!alive()) break;
      if (isPermanent(error) || error.after !== undefined) throw error;
      failed?.(error);
      await pause(env.timers, backoffMs(attempt, env.random, error.retryAfterMs)).done;
    }
  }
  return undefined;
}
