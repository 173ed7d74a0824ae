import type { Member, Members, TidingsError } from "@tidings/client";
import { members } from "@tidings/client/live";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useRoomObject } from "./context.js";
import { useConnection } from "./useConnection.js";
import { useStore } from "./useStore.js";

/** The members of a room. */
export interface MembersResult {
  /** The loaded members, by their ids; undefined until the first page is loaded. */
  readonly items: readonly Member[] | undefined;
  /** The error of the last load; the hook loads again after a reconnect. */
  readonly error: TidingsError | undefined;
  /** Whether the room has members after the loaded ones. */
  readonly hasMore: boolean;
  /** Loads the first page of members again. Never rejects. */
  readonly reload: () => Promise<void>;
  /** Loads the next page of members. Never rejects. */
  readonly loadMore: () => Promise<void>;
}

/** The options of `useMembers`. */
export interface MembersOptions {
  /** Whether the hook loads the first page; by default true. Otherwise it shows what is loaded. */
  readonly load?: boolean | undefined;
}

/**
 * The members of a room. The hook loads the first page, of up to 200 members, once it is mounted and connected, and
 * then keeps the loaded members up to date.
 */
export function useMembers(roomId: string, { load: isWanted = true }: MembersOptions = {}): MembersResult {
  const room = useRoomObject(roomId);
  const list = members(room);
  const items = useStore(list, undefined);
  const isConnected = useConnection().state === "connected";
  const [lastFailure, setLastFailure] = useState<{ list: Members; error: TidingsError }>();
  const latestList = useRef(list);
  useEffect(() => {
    latestList.current = list;
  }, [list]);
  const read = useCallback(
    async (load: () => Promise<unknown>) => {
      let failure: { list: Members; error: TidingsError } | undefined;
      try {
        await load();
      } catch (thrown) {
        failure = { list, error: thrown as TidingsError };
      }
      // Ignores the result if the component has changed to another room meanwhile.
      if (latestList.current === list) setLastFailure(failure);
    },
    [list],
  );
  const reload = useCallback(() => read(list.load), [read, list]);
  const loadMore = useCallback(() => read(list.loadMore), [read, list]);
  // The list is undefined before the first load, and again after another user has signed in.
  const isMissing = items === undefined;
  useEffect(() => {
    if (isWanted && isConnected && isMissing) void reload();
  }, [isWanted, isConnected, isMissing, reload]);
  const error = lastFailure?.list === list ? lastFailure.error : undefined;
  // Changes only together with the items.
  const hasMore = items !== undefined && list.hasMore;
  return useMemo(
    () => ({ items, error, hasMore, reload, loadMore }),
    [items, error, hasMore, reload, loadMore],
  );
}
