import { useSyncExternalStore } from "react";

/** A clock with one timer for all its subscribers. */
function createClock(everyMs: number) {
  let now = Date.now();
  let timer: ReturnType<typeof setInterval> | undefined;
  const listeners = new Set<() => void>();
  return {
    get: () => now,
    subscribe: (listener: () => void) => {
      listeners.add(listener);
      if (timer === undefined) {
        now = Date.now();
        timer = setInterval(() => {
          now = Date.now();
          for (const listener of listeners) listener();
        }, everyMs);
      }
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) {
          clearInterval(timer);
          timer = undefined;
        }
      };
    },
  };
}

const clocks = new Map<number, ReturnType<typeof createClock>>();

/** Returns the current time in ms since 1970, updated every `everyMs` ms. */
export function useNow(everyMs: number): number {
  let clock = clocks.get(everyMs);
  if (clock === undefined) {
    clock = createClock(everyMs);
    clocks.set(everyMs, clock);
  }
  return useSyncExternalStore(clock.subscribe, clock.get, clock.get);
}
