/** Live features of a room or client: typing, presence, receipts and members. */
import type { TidingsClient } from "./client.js";
import { MembersFeature } from "./live/members.js";
import { PresenceFeature } from "./live/presence.js";
import { ReceiptsFeature } from "./live/receipts.js";
import { TypingFeature } from "./live/typing.js";
import { hasShape } from "./protocol/check.js";
import type { RoomImpl } from "./room/room.js";
import type { Members, Presence, Receipt, Room, Store, TidingsClientLike, Typing } from "./types.js";

/** Returns the presence of users: `online`, `away` or `offline`. The same client always gives the same object. */
export function presence(client: TidingsClientLike): Presence {
  return (client as TidingsClient).features.of(PresenceFeature);
}

/** The users who type in a room, and functions to report typing. The list is empty while the room is not joined. */
export function typing(room: Room): Typing {
  return (room as RoomImpl).features.of(TypingFeature);
}

/** The read and delivered marks of each member, by user id. The map is empty while the room is closed. */
export function receipts(room: Room): Store<ReadonlyMap<string, Receipt>> {
  return (room as RoomImpl).features.of(ReceiptsFeature);
}

/** The members of a room, by page: undefined until `load()` has read the first page, then kept current by events. */
export function members(room: Room): Members {
  return (room as RoomImpl).features.of(MembersFeature);
}

/**
 * Calls the listener for each signal (app data that is not stored) of others. The returned function removes the
 * listener.
 */
export function onSignal(
  client: TidingsClientLike,
  listener: (signal: { readonly room: string; readonly from: string; readonly data: unknown }) => void,
): () => void {
  return client.on("frame", (frame) => {
    if (frame.type === "signal" && hasShape(frame, "room from"))
      listener({ room: frame.room, from: frame.from, data: frame.data });
  });
}

/**
 * Sends a signal to the connected members of a room, or only to the connections of the user `to`. Rejects with
 * TidingsError.
 */
export async function signal(room: Room, data: unknown, to?: string): Promise<void> {
  const { core, id } = room as RoomImpl;
  await core.connection.request({ type: "signal", room: id, data, ...(to !== undefined && { to }) });
}
