import type { Store } from "./types.js";

/** A store that its owner can set. */
export interface Cell<T> extends Store<T> {
  set(value: T): void;
}

/** Calls each listener, whatever the others do: one that throws is reported apart from the caller. */
export function notify<A extends unknown[]>(listeners: Set<(...args: A) => void>, ...args: A): void {
  for (const listener of [...listeners]) {
    if (!listeners.has(listener)) continue;
    try {
      listener(...args);
    } catch (thrown) {
      // The app's own fault: it surfaces as an uncaught error, as one in an event listener would.
      queueMicrotask(() => {
        throw thrown;
      });
    }
  }
}

/** Adds a listener; the answer takes it away. The same function added twice is called twice. */
export function listen<A extends unknown[]>(
  listeners: Set<(...args: A) => void>,
  listener: (...args: A) => void,
): () => void {
  const own = (...args: A) => listener(...args);
  listeners.add(own);
  return () => void listeners.delete(own);
}

/** Makes a store. Setting what is there already tells nobody. */
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
    subscribe: (listener) => listen(listeners, listener),
  };
}

/** Sets an object, unless it has the same fields as the one that is there. */
export function keep<T extends object>(store: Cell<T>, next: T): void {
  const before = store.get();
  const keys = Object.keys({ ...before, ...next }) as (keyof T)[];
  if (!keys.every((key) => Object.is(before[key], next[key]))) store.set(next);
}

/** A store whose value is made when it is asked for; `touch` says that it may be another one now. */
export function derived<T>(make: () => T): Store<T> & { touch(): void } {
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
    touch() {
      fresh = false;
      version.set(version.get() + 1);
    },
    subscribe: version.subscribe,
  };
}
