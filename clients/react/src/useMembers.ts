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
  const connected = useConnection().state === "connected";
  const [failed, setFailed] = useState<{ list: Members; error: TidingsError }>();
  const latest = useRef(list);
  useEffect(() => {
    latest.current = list;
  }, [list]);
  const reload = useCallback(async () => {
    let failure: { list: Members; error: TidingsError } | undefined;
    try {
      await list.load();
    } catch (thrown) {
      failure = { list, error: thrown as TidingsError };
    }
    // Ignores the result if this component shows another room meanwhile.
    if (latest.current === list) setFailed(failure);
  }, [list]);
  // The list is undefined before the first load, and again after another user has signed in.
  const missing = items === undefined;
  useEffect(() => {
    if (connected && missing) void reload();
  }, [connected, missing, reload]);
  const error = failed?.list === list ? failed.error : undefined;
  return useMemo(() => ({ items, error, reload }), [items, error, reload]);
}
