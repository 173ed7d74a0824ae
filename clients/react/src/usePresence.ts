import type { Presence, PresenceState, Store } from "@tidings/client";
import { presence } from "@tidings/client/live";
import { useEffect, useMemo } from "react";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** The presence of each user; undefined until the server has reported it. */
export type PresenceMap = ReadonlyMap<string, PresenceState | undefined>;

/** The presence of one user, watched while the hook is mounted. Undefined until the server has reported it. */
export function usePresence(user: string): PresenceState | undefined;
/** The presence of several users, watched while the hook is mounted. Arrays are compared by their content. */
export function usePresence(users: readonly string[]): PresenceMap;
export function usePresence(
  userOrUsers: string | readonly string[],
): PresenceState | undefined | PresenceMap {
  const presences = presence(useTidings());
  const isSingle = typeof userOrUsers === "string";
  const key = JSON.stringify(isSingle ? [userOrUsers] : [...new Set(userOrUsers)].sort());
  const stores = useMemo(() => combine(presences, JSON.parse(key) as string[]), [presences, key]);
  useEffect(() => presences.watch(JSON.parse(key) as string[]), [presences, key]);
  const map = useStore(stores, NO_PRESENCE);
  return isSingle ? map.get(userOrUsers) : map;
}

const NO_PRESENCE: PresenceMap = new Map();

/** Combines the stores of several users. The map stays the same object until one of the stores changes. */
function combine(presences: Presence, users: readonly string[]): Store<PresenceMap> {
  const stores = users.map((user) => [user, presences.of(user)] as const);
  let lastMap: PresenceMap = NO_PRESENCE;
  return {
    get: () => {
      const isSame =
        lastMap.size === stores.length && stores.every(([user, store]) => lastMap.get(user) === store.get());
      if (!isSame) lastMap = new Map(stores.map(([user, store]) => [user, store.get()]));
      return lastMap;
    },
    subscribe: (listener) => {
      const unsubscribes = stores.map(([, store]) => store.subscribe(listener));
      return () => {
        for (const unsubscribe of unsubscribes) unsubscribe();
      };
    },
  };
}
