import type { TypingUser } from "@tidings/client";
import { typing } from "@tidings/client/live";
import { useEffect, useMemo, useRef } from "react";
import { useRoomObject } from "./context.js";
import { useStore } from "./useStore.js";

/** The users who are typing, and functions to report that this user types. */
export interface TypingResult {
  /** The other users who are typing now. */
  readonly typing: readonly TypingUser[];
  /** Call it on each change of the input. It informs the other users at most once a second. */
  readonly typed: () => void;
  /** Reports that the user stopped. Call it when the input becomes empty. A pause of 2 s, a send and unmounting do it too. */
  readonly stop: () => void;
}

const EMPTY: readonly TypingUser[] = [];

/** Typing in a room. The client receives the typing of others while the room is open or joined. */
export function useTyping(roomId: string): TypingResult {
  const room = useRoomObject(roomId);
  const shared = typing(room);
  const typingUsers = useStore(shared, EMPTY);
  const isTyping = useRef(false);
  const commands = useMemo(
    () => ({
      typed: () => {
        isTyping.current = true;
        shared.typed();
      },
      stop: () => {
        isTyping.current = false;
        shared.stop();
      },
    }),
    [shared],
  );
  // Stops only the typing of this input: the user may still type in another input of the same room.
  useEffect(
    () => () => {
      if (isTyping.current) commands.stop();
    },
    [commands],
  );
  return useMemo(() => ({ typing: typingUsers, ...commands }), [typingUsers, commands]);
}
