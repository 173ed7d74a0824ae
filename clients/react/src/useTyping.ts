import type { TypingUser } from "@tidings/client";
import { typing } from "@tidings/client/live";
import { useEffect, useMemo, useRef } from "react";
import { useRoomObject } from "./context.js";
import { useStore } from "./useStore.js";

/** Who types, and how to tell that one does. */
export interface TypingResult {
  /** The others who type now. */
  readonly typing: readonly TypingUser[];
  /** To be called on each change of the input: tells the others at most once a second. */
  readonly typed: () => void;
  /** One has stopped. Needed only where the input is emptied: a pause of 2 s, a send and unmounting do it too. */
  readonly stop: () => void;
}

const NOBODY: readonly TypingUser[] = [];

/** Typing in a room. Others' typing is heard of while the room is open or among one's joined ones. */
export function useTyping(roomId: string): TypingResult {
  const room = useRoomObject(roomId);
  const shared = typing(room);
  const typers = useStore(shared, NOBODY);
  const mine = useRef(false);
  const tell = useMemo(
    () => ({
      typed: () => {
        mine.current = true;
        shared.typed();
      },
      stop: () => {
        mine.current = false;
        shared.stop();
      },
    }),
    [shared],
  );
  // Only what this input began: another one of the same room may still be typed in.
  useEffect(
    () => () => {
      if (mine.current) tell.stop();
    },
    [tell],
  );
  return useMemo(() => ({ typing: typers, ...tell }), [typers, tell]);
}
