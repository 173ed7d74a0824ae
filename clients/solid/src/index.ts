/** Solid signals and a provider for the stores of `@tidings/client`. */
import type { Room, Store, TidingsClientLike } from "@tidings/client";
import {
  type Accessor,
  createComponent,
  createContext,
  createSignal,
  type JSX,
  onCleanup,
  onMount,
  useContext,
} from "solid-js";

const ClientContext = createContext<TidingsClientLike>();

/** Provides a client to the components inside it. The app connects and closes the client. */
export function TidingsProvider(props: {
  readonly client: TidingsClientLike;
  readonly children?: JSX.Element;
}): JSX.Element {
  return createComponent(ClientContext.Provider, {
    value: props.client,
    // A getter, because the children must be created inside the provider.
    get children() {
      return props.children;
    },
  });
}

/**
 * Returns the client of the nearest provider.
 *
 * @throws Error when the component is not inside a provider.
 */
export function useTidings(): TidingsClientLike {
  const client = useContext(ClientContext);
  if (client === undefined) throw new Error("useTidings must be used inside a <TidingsProvider>");
  return client;
}

/** The current value of a store as a signal. The owner subscribes when it mounts, so not when a server renders. */
export function useStore<T>(store: Store<T>): Accessor<T> {
  const [value, set] = createSignal(store.get());
  const update = () => set(() => store.get());
  onMount(() => {
    onCleanup(store.subscribe(update));
    // The store may have changed between creation and mount.
    update();
  });
  return value;
}

/** Returns a room, which is open while the owner is mounted. To change the room, use a keyed `<Show>`. */
export function useRoom(id: string): Room {
  const room = useTidings().room(id);
  onMount(() => onCleanup(room.open()));
  return room;
}
