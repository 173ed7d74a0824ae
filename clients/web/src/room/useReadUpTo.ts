import type { RoomSummary } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { useCallback, useEffect, useState } from "react";

/**
 * Where the divider of unread messages stands: below what was read when the room was opened, or when the page was
 * last left. `undefined`: nothing to divide; `known`: whether that was found out.
 */
export function useReadUpTo(room: string, summary: RoomSummary | undefined) {
  const client = useTidings();
  const [taken, setTaken] = useState<{ seq: number | undefined }>();
  if (taken === undefined && summary !== undefined) {
    setTaken({ seq: summary.unread > 0 ? summary.readSeq : undefined });
  }
  useEffect(() => {
    const left = () => {
      const now = client.room(room).state.get().summary;
      if (document.visibilityState === "hidden" && now) setTaken({ seq: now.readSeq });
    };
    document.addEventListener("visibilitychange", left);
    return () => document.removeEventListener("visibilitychange", left);
  }, [client, room]);
  const clear = useCallback(() => setTaken({ seq: undefined }), []);
  return { readUpTo: taken?.seq, known: taken !== undefined, clear };
}
