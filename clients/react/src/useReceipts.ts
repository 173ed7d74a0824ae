import type { Receipt } from "@tidings/client";
import { receipts } from "@tidings/client/live";
import { useRoomObject } from "./context.js";
import { useStore } from "./useStore.js";

const NONE: ReadonlyMap<string, Receipt> = new Map();

/**
 * By user id, up to which seq each has read and been delivered to: for ticks and faces beside messages. Known while
 * the room is open.
 */
export function useReceipts(roomId: string): ReadonlyMap<string, Receipt> {
  return useStore(receipts(useRoomObject(roomId)), NONE);
}
