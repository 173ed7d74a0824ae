/** Vue composables for the stores of `@tidings/client`. Each is called in the `setup` of a component. */
import type { Room, Store, TidingsClientLike } from "@tidings/client";
import { type InjectionKey, inject, onMounted, onUnmounted, provide, type ShallowRef, shallowRef } from "vue";

const CLIENT: InjectionKey<TidingsClientLike> = Symbol("tidings");

/** The client as a Vue plugin, for all components of an app: `app.use(tidings(client))`. */
export function tidings(client: TidingsClientLike): {
  install(app: { provide(key: InjectionKey<TidingsClientLike>, value: TidingsClientLike): unknown }): void;
} {
  return { install: (app) => void app.provide(CLIENT, client) };
}

/** Provides a client to the components inside this one. The app connects and closes it. */
export function provideTidings(client: TidingsClientLike): void {
  provide(CLIENT, client);
}

/**
 * Returns the client that the app or a component above provides.
 *
 * @throws Error when no client is provided.
 */
export function useTidings(): TidingsClientLike {
  const client = inject(CLIENT, undefined);
  if (client === undefined)
    throw new Error("useTidings needs a client: call app.use(tidings(client)) or provideTidings(client)");
  return client;
}

/** The current value of a store as a ref. The component subscribes when it mounts, so not when a server renders. */
export function useStore<T>(store: Store<T>): Readonly<ShallowRef<T>> {
  const value = shallowRef(store.get()) as ShallowRef<T>;
  const update = () => {
    value.value = store.get();
  };
  let unsubscribe = () => {};
  onMounted(() => {
    unsubscribe = store.subscribe(update);
    // The store may have changed between setup and mount.
    update();
  });
  onUnmounted(() => unsubscribe());
  return value;
}

/** Returns a room, which is open while the component is mounted. Give the component the id as its `key`. */
export function useRoom(id: string): Room {
  const room = useTidings().room(id);
  let release = () => {};
  onMounted(() => {
    release = room.open();
  });
  onUnmounted(() => release());
  return room;
}
