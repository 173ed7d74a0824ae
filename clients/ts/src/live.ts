/** What goes on beside the messages: who types, who is there, who has read how far, who is a member. */
import type { TidingsClient } from "./client.js";
import { MembersPart } from "./live/members.js";
import { PresencePart } from "./live/presence.js";
import { ReceiptsPart } from "./live/receipts.js";
import { TypingPart } from "./live/typing.js";
import type { RoomImpl } from "./room/room.js";
import type { Members, Presence, Receipt, Room, Store, Typing } from "./types.js";

/** Who is there. The same object for the same client. */
export function presence(client: TidingsClient): Presence {
  return client.parts.of(PresencePart);
}

/** Who types in a room, and how to tell that one does. Heard of while the room is joined. */
export function typing(room: Room): Typing {
  return (room as RoomImpl).parts.of(TypingPart);
}

/** How far each member has read a room, and how far its messages have reached them. Known while it is open. */
export function receipts(room: Room): Store<ReadonlyMap<string, Receipt>> {
  return (room as RoomImpl).parts.of(ReceiptsPart);
}

/** Who is in a room. Not there until it was loaded; then kept true. */
export function members(room: Room): Members {
  return (room as RoomImpl).parts.of(MembersPart);
}

/** Hears of the signals of others; the answer stops that. */
export function onSignal(
  client: TidingsClient,
  listener: (signal: { readonly room: string; readonly from: string; readonly data: unknown }) => void,
): () => void {
  return client.on("frame", (frame) => {
    if (frame.type === "signal") listener({ room: frame.room, from: frame.from, data: frame.data });
  });
}

/** Reaches those who are in a room now, or only the connections of `to`. Rejects with TidingsError. */
export async function signal(room: Room, data: unknown, to?: string): Promise<void> {
  const { core, id } = room as RoomImpl;
  await core.connection.request({ type: "signal", room: id, data, ...(to !== undefined && { to }) });
}
