/** Svelte stores and context for the stores of `@tidings/client`. */
import type { Room, Store, TidingsClientLike } from "@tidings/client";
import { getContext, onMount, setContext } from "svelte";
import type { Readable } from "svelte/store";

const CLIENT = Symbol("tidings");

/** Provides a client to the components inside this one. The app connects and closes it. */
export function provideTidings(client: TidingsClientLike): void {
  setContext(CLIENT, client);
}

/**
 * Returns the client that a component above provides. Call it while a component initialises.
 *
 * @throws Error when no client is provided.
 */
export function useTidings(): TidingsClientLike {
  const client = getContext<TidingsClientLike | undefined>(CLIENT);
  if (client === undefined)
    throw new Error("useTidings needs a client: call provideTidings(client) in a component above");
  return client;
}

/** Makes a Svelte store of a store of the kit, so that `$name` is its value. It subscribes only while it is used. */
export function toReadable<T>(store: Store<T>): Readable<T> {
  return {
    subscribe(run) {
      const unsubscribe = store.subscribe(() => run(store.get()));
      run(store.get());
      return unsubscribe;
    },
  };
}

/**
 * Returns a room, which is open while the component is mounted. To change the room, put the component in a
 * `{#key id}` block.
 */
export function useRoom(id: string): Room {
  const room = useTidings().room(id);
  onMount(() => room.open());
  return room;
}
