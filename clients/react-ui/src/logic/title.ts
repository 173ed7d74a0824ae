import type { MutedRooms, RoomSummary } from "@tidings/client";
import { isQuiet } from "./muted.js";
import { displayName } from "./names.js";
import { withoutBidi } from "./plainText.js";

/** The title of a room. A direct room has the name of the other user. */
export function roomTitle(room: RoomSummary | undefined): string {
  if (room === undefined) return "Room";
  if (room.kind === "direct") {
    const { peer, lastMessage } = room;
    if (peer === undefined) return "Direct message";
    // The name of the other user may be known only from a message.
    const sender = lastMessage?.sender.id === peer.user ? lastMessage.sender.name : undefined;
    return displayName(peer.user, peer.name ?? sender);
  }
  return roomName(room);
}

/** The name of a room that is not direct. */
export const roomName = ({ name }: { readonly name: string | null }): string =>
  withoutBidi(name ?? "") || "Unnamed room";

/**
 * Counts the unread messages in all rooms but those without notifications. `capped` means that `count` is only a lower
 * bound.
 */
export function totalUnread(
  rooms: readonly RoomSummary[],
  muted?: MutedRooms,
): { count: number; capped: boolean } {
  let count = 0;
  let capped = false;
  for (const room of rooms) {
    if (isQuiet(room, muted)) continue;
    count += room.unread;
    capped ||= room.unreadCapped;
  }
  return { count, capped };
}

/** Makes the text of a badge with a number: "7", or "99+" for more than 99 or a capped count. */
export function badgeText(count: number, capped = false): string {
  return count > 99 || (capped && count > 0) ? `${Math.min(count, 99)}+` : String(count);
}

/** The title of the page, such as "(3) Kitchen · Tidings" in an app with the name "Tidings". */
export function documentTitle(
  unread: { count: number; capped: boolean },
  app: string,
  roomName?: string,
): string {
  const name = roomName ? `${roomName} · ${app}` : app;
  return unread.count > 0 ? `(${badgeText(unread.count, unread.capped)}) ${name}` : name;
}
