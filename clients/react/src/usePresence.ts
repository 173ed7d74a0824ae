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
  const all = presence(useTidings());
  const single = typeof userOrUsers === "string";
  const key = JSON.stringify(single ? [userOrUsers] : [...new Set(userOrUsers)].sort());
  const stores = useMemo(() => combine(all, JSON.parse(key) as string[]), [all, key]);
  useEffect(() => all.watch(JSON.parse(key) as string[]), [all, key]);
  const map = useStore(stores, EMPTY);
  return single ? map.get(userOrUsers) : map;
}

const EMPTY: PresenceMap = new Map();

/** Combines the stores of several users. The map stays the same object until one of the stores changes. */
function combine(all: Presence, users: readonly string[]): Store<PresenceMap> {
  const stores = users.map((user) => [user, all.of(user)] as const);
  let last: PresenceMap = EMPTY;
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
