import type { MutedRooms, Mutes } from "@tidings/client";
import { useStore } from "@tidings/react";
import { useContext } from "react";
import { ChatUiContext } from "./chatUi.js";

const NO_MUTES: Pick<Mutes, "get" | "subscribe"> = { get: () => undefined, subscribe: () => () => {} };

/** The rooms that the user has muted; undefined until they are read, and if the chat or its server has no push. */
export function useMutedRooms(): MutedRooms | undefined {
  return useStore(useContext(ChatUiContext)?.mutes ?? NO_MUTES, undefined);
}
