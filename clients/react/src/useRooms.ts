import type { RoomSummary, TidingsError } from "@tidings/client";
import { useMemo } from "react";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** The user's rooms, the one with the newest activity first. */
export interface RoomsResult {
  /** The rooms. The object of a room stays the same until that room changes, so that rows can be memoised. */
  readonly items: readonly RoomSummary[];
  /** False until the first page is loaded. Until then an empty list does not mean that the user has no rooms. */
  readonly loaded: boolean;
  /** Whether `more` can load another page. */
  readonly hasMore: boolean;
  /** The error of the last load. */
  readonly error: TidingsError | undefined;
  /** Loads the next page. Never rejects: `error` holds the failure. */
  readonly more: () => Promise<void>;
  /** Loads the list again. Never rejects. The client reloads by itself when that is necessary. */
  readonly reload: () => Promise<void>;
}

const SERVER_VALUE = { items: [], loaded: false, hasMore: false } as const;

/** The user's rooms with their last message and unread count, kept up to date. */
export function useRooms(): RoomsResult {
  const { rooms } = useTidings();
  const { items, loaded, hasMore, error } = useStore(rooms, SERVER_VALUE);
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
