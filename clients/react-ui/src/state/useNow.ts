import { useSyncExternalStore } from "react";
import { deviceZone } from "../logic/time.js";

/** A value of the device that is read again by one timer for all its subscribers, and when the page becomes visible. */
function createClock<T>(everyMs: number, read: () => T) {
  let value = read();
  let timer: ReturnType<typeof setInterval> | undefined;
  const listeners = new Set<() => void>();
  const tick = () => {
    const before = value;
    value = read();
    if (value !== before) for (const listener of listeners) listener();
  };
  return {
    get: () => value,
    subscribe: (listener: () => void) => {
      listeners.add(listener);
      if (timer === undefined) {
        value = read();
        timer = setInterval(tick, everyMs);
        // The timers of a hidden page, or of a device that sleeps, are late.
        document.addEventListener("visibilitychange", tick);
      }
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) {
          clearInterval(timer);
          timer = undefined;
          document.removeEventListener("visibilitychange", tick);
        }
      };
    },
  };
}

const clocks = new Map<number, ReturnType<typeof createClock<number>>>();
let zoneClock: ReturnType<typeof createClock<string>> | undefined;

/** Returns the current time in ms since 1970, updated every `everyMs` ms. */
export function useNow(everyMs: number): number {
  let clock = clocks.get(everyMs);
  if (clock === undefined) {
    clock = createClock(everyMs, Date.now);
    clocks.set(everyMs, clock);
  }
  return useSyncExternalStore(clock.subscribe, clock.get, clock.get);
}

/**
 * Returns the time zone, the locale and the hour cycle of the device. A component that shows times renders again when
 * they change.
 */
export function useZone(): string {
  zoneClock ??= createClock(60_000, deviceZone);
  return useSyncExternalStore(zoneClock.subscribe, zoneClock.get, zoneClock.get);
}
