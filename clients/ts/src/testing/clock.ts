/** A clock for tests. */
import type { Timers } from "../types.js";

/** A clock that only moves when a test moves it. */
export class TestClock implements Timers {
  #now = 1_700_000_000_000;
  #count = 0;
  readonly #timers = new Map<number, { at: number; run: () => void }>();
  readonly #watchers = new Set<() => void>();

  now = (): number => this.#now;

  /** Runs a function later. */
  setTimeout(run: () => void, ms: number): unknown {
    this.#timers.set(++this.#count, { at: this.#now + Math.max(0, ms), run });
    return this.#count;
  }

  /** Cancels a timer. */
  clearTimeout(handle: unknown): void {
    this.#timers.delete(handle as number);
  }

  /** The number of timers that wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves the time without running timers, as a device that slept. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /**
   * Resolves after the next timer has run, after the next step of the test, or at the given time. A wait for
   * a change uses it instead of a timer that runs every few milliseconds.
   * @internal
   */
  change(end: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#watchers.delete(done);
        this.clearTimeout(timeout);
        resolve();
      };
      const timeout = this.setTimeout(done, end - this.#now);
      this.#watchers.add(done);
    });
  }

  /** Moves the time and runs the due timers one by one. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      if (this.#watchers.size > 0) {
        for (const watcher of [...this.#watchers]) watcher();
        await settle();
      }
      const due = [...this.#timers].sort(([a, x], [b, y]) => x.at - y.at || a - b)[0];
      if (!due || due[1].at > end) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].run();
    }
    this.#now = Math.max(this.#now, end);
    await settle();
  }
}

/** Waits until all work that needs no timer is done. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 6; i++) await new Promise<void>(nextTask);
}

/** Calls the function after all work that is ready now. Browsers have no `setImmediate`. */
function nextTask(run: () => void): void {
  const { setImmediate } = globalThis as { setImmediate?: (run: () => void) => unknown };
  if (setImmediate === undefined) globalThis.setTimeout(run);
  else setImmediate(run);
}
