import type { Member, Members, TidingsError } from "@tidings/client";
import { members } from "@tidings/client/live";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useRoomObject } from "./context.js";
import { useConnection } from "./useConnection.js";
import { useStore } from "./useStore.js";

/** The members of a room. */
export interface MembersResult {
  /** The members; undefined until they are loaded. */
  readonly items: readonly Member[] | undefined;
  /** The error of the last load; the hook loads again after a reconnect. */
  readonly error: TidingsError | undefined;
  /** Loads the members again. Never rejects. */
  readonly reload: () => Promise<void>;
}

/** The members of a room. The hook loads them once it is mounted and connected, and then keeps them up to date. */
export function useMembers(roomId: string): MembersResult {
  const room = useRoomObject(roomId);
  const list = members(room);
  const items = useStore(list, undefined);
  const isConnected = useConnection().state === "connected";
  const [lastFailure, setLastFailure] = useState<{ list: Members; error: TidingsError }>();
  const latestList = useRef(list);
  useEffect(() => {
    latestList.current = list;
  }, [list]);
  const reload = useCallback(async () => {
    let failure: { list: Members; error: TidingsError } | undefined;
    try {
      await list.load();
    } catch (thrown) {
      failure = { list, error: thrown as TidingsError };
    }
    // Ignores the result if the component has changed to another room meanwhile.
    if (latestList.current === list) setLastFailure(failure);
  }, [list]);
  // The list is undefined before the first load, and again after another user has signed in.
  const isMissing = items === undefined;
  useEffect(() => {
    if (isConnected && isMissing) void reload();
  }, [isConnected, isMissing, reload]);
  const error = lastFailure?.list === list ? lastFailure.error : undefined;
  return useMemo(() => ({ items, error, reload }), [items, error, reload]);
}
