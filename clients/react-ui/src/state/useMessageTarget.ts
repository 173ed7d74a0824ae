import { type RefObject, useCallback, useEffect, useMemo, useState } from "react";
import type { JumpTarget } from "../room/useJump.js";
import type { ChatPlace, ChatUi } from "./chatUi.js";
import type { ChatRoute } from "./route.js";

/**
 * The message to jump to in the open room: from a link to a message, or from a call of `goToMessage`. `latest` holds the
 * current route.
 */
export function useMessageTarget(
  { room, message }: ChatRoute,
  go: ChatUi["go"],
  latest: RefObject<{ readonly route: ChatRoute }>,
): { readonly target: ChatPlace["target"]; readonly goToMessage: ChatUi["goToMessage"] } {
  const [target, setTarget] = useState<{ room: string; jump: JumpTarget }>();
  useEffect(() => {
    setTarget((now) => (now?.room === room ? now : undefined));
  }, [room]);

  // A link to a message. The room gets it in its first render, so that it loads only the messages around it.
  const linked = useMemo(
    () => (room === undefined || message === undefined ? undefined : { room, jump: { seq: message } }),
    [room, message],
  );
  // Then replaces the address by that of the room, so that the back button leaves the room.
  useEffect(() => {
    if (linked === undefined) return;
    setTarget(linked);
    go({ room: linked.room }, true);
  }, [linked, go]);

  const goToMessage = useCallback<ChatUi["goToMessage"]>(
    (to, seq) => {
      setTarget({ room: to, jump: { seq } });
      // On a narrow screen the search panel closes to show the message. On a wide screen it stays beside the room.
      const isNarrow = window.matchMedia("(max-width: 1099px)").matches;
      const beside = latest.current.route.panel === "search" && !isNarrow;
      go(beside ? { room: to, panel: "search" } : { room: to });
    },
    [go, latest],
  );
  return { target: linked ?? target, goToMessage };
}
