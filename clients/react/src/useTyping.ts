import type { TypingUser } from "@tidings/client";
import { typing } from "@tidings/client/live";
import { useEffect, useMemo, useRef } from "react";
import { useRoomObject } from "./context.js";
import { useStore } from "./useStore.js";

/** The users who are typing, and functions to report that this user types. */
export interface TypingResult {
  /** The other users who are typing now. */
  readonly typing: readonly TypingUser[];
  /** Reports that the user types. Call this on each change of the input; at most one report a second is sent. */
  readonly typed: () => void;
  /**
   * Reports that the user stopped typing. Call this when the input becomes empty. A pause of 2 s, a send
   * and unmounting have the same effect.
   */
  readonly stop: () => void;
}

const NO_TYPING_USERS: readonly TypingUser[] = [];

/** The typing state of a room. The other users who type are known only while the room is joined. */
export function useTyping(roomId: string): TypingResult {
  const room = useRoomObject(roomId);
  const roomTyping = typing(room);
  const typingUsers = useStore(roomTyping, NO_TYPING_USERS);
  const isTyping = useRef(false);
  const commands = useMemo(
    () => ({
      typed: () => {
        isTyping.current = true;
        roomTyping.typed();
      },
      stop: () => {
        isTyping.current = false;
        roomTyping.stop();
      },
    }),
    [roomTyping],
  );
  // Reports a stop only if this input has started the typing: the user may still type in another input of the room.
  useEffect(
    () => () => {
      if (isTyping.current) commands.stop();
    },
    [commands],
  );
  return useMemo(() => ({ typing: typingUsers, ...commands }), [typingUsers, commands]);
}
