import { useEffect, useMemo } from "react";
import { useRoomObject } from "./context.js";
import { ReadTracker } from "./readTracker.js";

/** Functions that mark messages of a room as read. */
export interface ReadResult {
  /**
   * The ref for a message's element: `<li ref={observe(message.seq)}>`. The message is marked as read when half of it
   * (of a long message, half a screen) is visible in a page that is itself visible. A message that is not sent yet has
   * no seq and gets no ref. Elements may be added, removed and reused, as in a virtual list.
   */
  readonly observe: (seq: number | undefined) => ((element: Element | null) => void) | undefined;
  /** Marks messages up to a seq as read, for lists that report visible rows, such as those of React Native. */
  readonly seen: (seq: number) => boolean;
}

/**
 * Marks messages as read when they become visible. Only the highest seq is sent, a few times a second at most. Nothing
 * is marked while unread messages before the visible ones are not loaded.
 */
export function useRead(roomId: string): ReadResult {
  const room = useRoomObject(roomId);
  const tracker = useMemo(() => new ReadTracker((seq) => room.markRead(seq)), [room]);
  useEffect(() => {
    tracker.start();
    return () => tracker.stop();
  }, [tracker]);
  return useMemo(
    () => ({
      observe: (seq) => (seq === undefined ? undefined : tracker.ref(seq)),
      seen: (seq) => room.markRead(seq),
    }),
    [room, tracker],
  );
}
