import type { RoomState, RoomSummary, TidingsError } from "@tidings/client";
import { useMemo } from "react";
import { useRoomObject } from "./context.js";
import { useStore } from "./useStore.js";

/** The state of one room. */
export interface RoomResult {
  /** `closed` until the room is opened, for example by {@link useMessages}. */
  readonly phase: RoomState["phase"];
  /** The name, kind, role, unread count and other data of the room; undefined until they are loaded. */
  readonly summary: RoomSummary | undefined;
  /** The reason why the room `failed`, or the error of the last load. */
  readonly error: TidingsError | undefined;
}

const SERVER_VALUE: RoomState = { phase: "closed" };

/** The state of one room, for example for its header. This hook does not open the room. */
export function useRoom(roomId: string): RoomResult {
  const { phase, summary, error } = useStore(useRoomObject(roomId).state, SERVER_VALUE);
  return useMemo(() => ({ phase, summary, error }), [phase, summary, error]);
}
