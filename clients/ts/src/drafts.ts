/** Drafts: the text, the reply target, the audience and the attachments of a message that is not sent yet. */
import { DraftFeature } from "./draft/draft.js";
import type { RoomImpl } from "./room/room.js";
import type { Draft, Room } from "./types.js";

/**
 * Returns the draft of a room, the same object each time. The client's storage keeps it, and all tabs share it. Without
 * a storage the draft lives as long as the client.
 */
export function draft(room: Room): Draft {
  return (room as RoomImpl).features.of(DraftFeature);
}
