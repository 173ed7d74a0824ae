import type { RoomSummary } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { useCallback, useEffect, useState } from "react";

/**
 * The position of the divider of unread messages: the seq up to which messages were read when the room was opened, or
 * when the page was last hidden. `readUpTo` is undefined without a divider. `loaded` is false until the room's summary
 * is loaded.
 */
export function useReadUpTo(room: string, summary: RoomSummary | undefined) {
  const client = useTidings();
  const [start, setStart] = useState<{ seq: number | undefined }>();
  if (start === undefined && summary !== undefined) {
    // Before the page is connected the summary is that of the last visit, so there may be more unread messages.
    const isCurrent = client.connection.get().state === "connected";
    setStart({ seq: summary.unread > 0 || !isCurrent ? summary.readSeq : undefined });
  }
  useEffect(() => {
    const onHidden = () => {
      const now = client.room(room).state.get().summary;
      if (document.visibilityState === "hidden" && now) setStart({ seq: now.readSeq });
    };
    document.addEventListener("visibilitychange", onHidden);
    return () => document.removeEventListener("visibilitychange", onHidden);
  }, [client, room]);
  const clear = useCallback(() => setStart({ seq: undefined }), []);
  return { readUpTo: start?.seq, loaded: start !== undefined, clear };
}
