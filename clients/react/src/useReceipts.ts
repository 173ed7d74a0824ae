import type { Receipt } from "@tidings/client";
import { receipts } from "@tidings/client/live";
import { useRoomObject } from "./context.js";
import { useStore } from "./useStore.js";

const NO_RECEIPTS: ReadonlyMap<string, Receipt> = new Map();

/**
 * The receipts by user id: up to which seq each member has read, and up to which seq messages were delivered to the
 * member. The map is empty while the room is closed.
 */
export function useReceipts(roomId: string): ReadonlyMap<string, Receipt> {
  return useStore(receipts(useRoomObject(roomId)), NO_RECEIPTS);
}
