import type { Presence, PresenceState, Store } from "@tidings/client";
import { presence } from "@tidings/client/live";
import { useEffect, useMemo } from "react";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** Who is how; undefined of whom nothing has been heard yet. */
export type PresenceMap = ReadonlyMap<string, PresenceState | undefined>;

/** The presence of one user, watched while mounted; undefined until heard of. */
export function usePresence(user: string): PresenceState | undefined;
/** The presence of several, watched while mounted. The array may be a new one each time, it is compared by content. */
export function usePresence(users: readonly string[]): PresenceMap;
export function usePresence(
  userOrUsers: string | readonly string[],
): PresenceState | undefined | PresenceMap {
  const all = presence(useTidings());
  const single = typeof userOrUsers === "string";
  const key = JSON.stringify(single ? [userOrUsers] : [...new Set(userOrUsers)].sort());
  const stores = useMemo(() => together(all, JSON.parse(key) as string[]), [all, key]);
  useEffect(() => all.watch(JSON.parse(key) as string[]), [all, key]);
  const map = useStore(stores, NOTHING);
  return single ? map.get(userOrUsers) : map;
}

const NOTHING: PresenceMap = new Map();

/** Many stores as one, whose map stays the same object until one of them changes. */
function together(all: Presence, users: readonly string[]): Store<PresenceMap> {
  const stores = users.map((user) => [user, all.of(user)] as const);
  let last: PresenceMap = NOTHING;
  return {
    get: () => {
      const same =
        last.size === stores.length && stores.every(([user, store]) => last.get(user) === store.get());
      if (!same) last = new Map(stores.map(([user, store]) => [user, store.get()]));
      return last;
    },
    subscribe: (listener) => {
      const stops = stores.map(([, store]) => store.subscribe(listener));
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
}
