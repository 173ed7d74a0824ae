import type { RoomSummary } from "@tidings/client";
import { displayName } from "./names.ts";

/** What a room is called; a direct room bears the other one's name. */
export function roomTitle(room: RoomSummary | undefined): string {
  if (room === undefined) return "Room";
  if (room.kind === "direct") {
    const { peer, lastMessage } = room;
    if (peer === undefined) return "Direct message";
    // Their name may have come with a message only.
    const sender = lastMessage?.sender.id === peer.user ? lastMessage.sender.name : undefined;
    return displayName(peer.user, peer.name ?? sender);
  }
  return room.name || "Room without a name";
}

/** How many messages of all rooms are unread; capped when one of the counts is only a lower bound. */
export function totalUnread(rooms: readonly RoomSummary[]): { count: number; capped: boolean } {
  let count = 0;
  let capped = false;
  for (const room of rooms) {
    count += room.unread;
    capped ||= room.unreadCapped;
  }
  return { count, capped };
}

/** A count as a badge shows it: "7", "99+". */
export function badge(count: number, capped = false): string {
  return count > 99 || (capped && count > 0) ? `${Math.min(count, 99)}+` : String(count);
}

/** The title of the page: "(3) Kitchen · Tidings". */
export function documentTitle(unread: { count: number; capped: boolean }, place?: string): string {
  const name = place ? `${place} · Tidings` : "Tidings";
  return unread.count > 0 ? `(${badge(unread.count, unread.capped)}) ${name}` : name;
}
