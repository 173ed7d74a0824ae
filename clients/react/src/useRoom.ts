import type { RoomState, RoomSummary, TidingsError } from "@tidings/client";
import { useMemo } from "react";
import { useRoomObject } from "./context.js";
import { useStore } from "./useStore.js";

/** What is known of one room. */
export interface RoomResult {
  /** Where the room stands: `closed` unless somebody has opened it, as {@link useMessages} does. */
  readonly phase: RoomState["phase"];
  /** Name, kind, role, unread and so on; undefined until known. */
  readonly summary: RoomSummary | undefined;
  /** Why it `failed`. */
  readonly error: TidingsError | undefined;
}

const AT_SERVER: RoomState = { phase: "closed" };

/** One room's state, for its head line. Opens nothing. */
export function useRoom(roomId: string): RoomResult {
  const { phase, summary, error } = useStore(useRoomObject(roomId).state, AT_SERVER);
  return useMemo(() => ({ phase, summary, error }), [phase, summary, error]);
}
