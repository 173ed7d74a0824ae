import { useEffect, useMemo } from "react";
import { useRoomObject } from "./context.js";
import { ReadTracker } from "./readTracker.js";

/** How a room's messages become read. */
export interface ReadResult {
  /**
   * The ref of a message's element: `<li ref={observe(message.seq)}>`. The message is marked read once half of it (of
   * a long one, half a screen) is in sight in a page that is itself visible. Undefined, as of a message without a
   * place yet, gives none. Elements may come, go and be used again, as in a virtual list.
   */
  readonly observe: (seq: number | undefined) => ((element: Element | null) => void) | undefined;
  /** Marks read up to here, for lists that know what is in sight, such as those of React Native. */
  readonly seen: (seq: number) => void;
}

/** Marks messages read when they are really seen: the highest of them, a few times a second at most. */
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
