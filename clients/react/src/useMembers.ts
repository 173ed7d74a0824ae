import type { Member, Members, TidingsError } from "@tidings/client";
import { members } from "@tidings/client/live";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useRoomObject } from "./context.js";
import { useConnection } from "./useConnection.js";
import { useStore } from "./useStore.js";

/** Who is in a room. */
export interface MembersResult {
  /** Undefined until loaded. */
  readonly items: readonly Member[] | undefined;
  /** Why the last load failed; a new connection tries again. */
  readonly error: TidingsError | undefined;
  /** Loads them anew. Never rejects. */
  readonly reload: () => Promise<void>;
}

/** The members of a room: loaded once mounted and connected, then kept true. */
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
    // What comes of a room that was shown before says nothing of this one.
    if (latest.current === list) setFailed(failure);
  }, [list]);
  // They are gone, too, when somebody else has come.
  const missing = items === undefined;
  useEffect(() => {
    if (connected && missing) void reload();
  }, [connected, missing, reload]);
  const error = failed?.list === list ? failed.error : undefined;
  return useMemo(() => ({ items, error, reload }), [items, error, reload]);
}
