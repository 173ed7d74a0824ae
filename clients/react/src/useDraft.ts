import type { Draft, DraftState } from "@tidings/client";
import { draft } from "@tidings/client/drafts";
import { useMemo } from "react";
import { useRoomObject } from "./context.js";
import { useStore } from "./useStore.js";

/** The message that the user is writing, and functions to change and send it. */
export type DraftResult = DraftState & Pick<Draft, "set" | "reply" | "send" | "clear">;

const EMPTY_DRAFT: DraftState = { content: "", attachments: [], audienceChosen: false };

/** The draft of a room: kept across reloads by the client's storage, and the same in all tabs. */
export function useDraft(roomId: string): DraftResult {
  const roomDraft = draft(useRoomObject(roomId));
  const state = useStore(roomDraft, EMPTY_DRAFT);
  const { set, reply, send, clear } = roomDraft;
  return useMemo(() => ({ ...state, set, reply, send, clear }), [state, set, reply, send, clear]);
}
