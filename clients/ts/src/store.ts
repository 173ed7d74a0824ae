import type { Store } from "./types.js";

/** A store that knows whether it has listeners. */
export interface WatchedStore<T> extends Store<T> {
  readonly watched: () => boolean;
}

/** A store with a function that sets its value. */
export interface Cell<T> extends WatchedStore<T> {
  set(value: T): void;
}

/** Calls each listener. An error in one listener does not stop the others or reach the caller. */
export function notify<A extends unknown[]>(listeners: Set<(...args: A) => void>, ...args: A): void {
  for (const listener of [...listeners]) {
    if (!listeners.has(listener)) continue;
    try {
      listener(...args);
    } catch (thrown) {
      // The error of a listener becomes an uncaught error, as for an event listener of the DOM.
      queueMicrotask(() => {
        throw thrown;
      });
    }
  }
}

/** Adds a listener and returns a function that removes it. A listener that is added twice is called twice. */
export function addListener<A extends unknown[]>(
  listeners: Set<(...args: A) => void>,
  listener: (...args: A) => void,
): () => void {
  const registration = (...args: A) => listener(...args);
  listeners.add(registration);
  return () => void listeners.delete(registration);
}

/** Makes a store with a first value. Setting the same value again calls no listener. */
export function cell<T>(initial: T): Cell<T> {
  let value = initial;
  const listeners = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      notify(listeners);
    },
    subscribe: (listener) => addListener(listeners, listener),
    watched: () => listeners.size > 0,
  };
}

/** Sets the value of a store, unless all fields of `next` equal those of the current value. */
export function setIfChanged<T extends object>(store: Cell<T>, next: T): void {
  const before = store.get();
  const keys = Object.keys({ ...before, ...next }) as (keyof T)[];
  if (!keys.every((key) => Object.is(before[key], next[key]))) store.set(next);
}

/**
 * Makes a store that computes its value with `make` when the value is read. `refresh` discards the computed value and
 * calls the listeners.
 */
export function derived<T>(make: () => T): WatchedStore<T> & { refresh(): void } {
  let value: T | undefined;
  let fresh = false;
  const version = cell(0);
  return {
    get: () => {
      if (!fresh) {
        value = make();
        fresh = true;
      }
      return value as T;
    },
    refresh() {
      fresh = false;
      version.set(version.get() + 1);
    },
    subscribe: version.subscribe,
    watched: version.watched,
  };
}
