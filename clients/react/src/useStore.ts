import type { Store } from "@tidings/client";
import { useSyncExternalStore } from "react";

/**
 * The value of any store of the client, kept true: `useStore(client.me)`. Renders only when the value is another
 * one, and never shows two parts of a tree two values of it.
 *
 * @param server what is shown where the page is rendered on a server and while it is hydrated; the present value
 *   unless given.
 */
export function useStore<T>(store: Store<T>, ...server: [value?: T]): T {
  const atServer = server.length === 0 ? store.get : () => server[0] as T;
  return useSyncExternalStore(store.subscribe, store.get, atServer);
}

/** A part of a store: renders only when what `select` picks is another one, so `select` must pick, not make. */
export function usePart<T, P>(store: Store<T>, select: (value: T) => P, server: P): P {
  return useSyncExternalStore(
    store.subscribe,
    () => select(store.get()),
    () => server,
  );
}
