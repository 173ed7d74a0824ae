import type { RoomSummary, TidingsError } from "@tidings/client";
import { useMemo } from "react";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** One's rooms, newest activity first. */
export interface RoomsResult {
  /** A room's object stays the same one until something of that room changes: rows can be memoised on it. */
  readonly items: readonly RoomSummary[];
  /** False until the first page is there: no rooms yet is not the same as none. */
  readonly loaded: boolean;
  /** Whether `more` would bring further ones. */
  readonly hasMore: boolean;
  /** Why the last load failed. */
  readonly error: TidingsError | undefined;
  /** Loads the next page. Never rejects: what went wrong is in `error`. */
  readonly more: () => Promise<void>;
  /** Loads the list anew. Never rejects. The client does it by itself where it is needed. */
  readonly reload: () => Promise<void>;
}

const AT_SERVER = { items: [], loaded: false, hasMore: false } as const;

/** One's rooms with last message and unread count, kept true. */
export function useRooms(): RoomsResult {
  const { rooms } = useTidings();
  const { items, loaded, hasMore, error } = useStore(rooms, AT_SERVER);
  const commands = useMemo(
    () => ({
      more: () => rooms.more().catch(() => {}),
      reload: () => rooms.reload().catch(() => {}),
    }),
    [rooms],
  );
  return useMemo(
    () => ({ items, loaded, hasMore, error, ...commands }),
    [items, loaded, hasMore, error, commands],
  );
}
