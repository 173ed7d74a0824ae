import type { Store } from "@tidings/client";
import { useSyncExternalStore } from "react";

/**
 * The current value of any store of the client, for example of `client.me`. Renders only when the value changes, and
 * all components of one render see the same value.
 *
 * @param server the value for rendering on a server and for hydration; the current value by default.
 */
export function useStore<T>(store: Store<T>, ...server: [value?: T]): T {
  const getServerValue = server.length === 0 ? store.get : () => server[0] as T;
  return useSyncExternalStore(store.subscribe, store.get, getServerValue);
}

/** Returns the part of a store's value that `select` picks. `select` must return the same object for the same value. */
export function useSelected<T, P>(store: Store<T>, select: (value: T) => P, server: P): P {
  return useSyncExternalStore(
    store.subscribe,
    () => select(store.get()),
    () => server,
  );
}
