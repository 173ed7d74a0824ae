/**
 * Edits, deletions and reactions. The kit shows each at once and repeats it until the server has stored or refused it.
 * With the option `storage` a change outlives the page: the outbox keeps it until it is stored or refused.
 */
import { ChangesFeature } from "./change/changes.js";
import type { EntryChange } from "./outbox/entry.js";
import type { RoomImpl } from "./room/room.js";
import type { Room } from "./types.js";

const send = async (room: Room, change: EntryChange): Promise<void> =>
  (room as RoomImpl).features.of(ChangesFeature).send(change);

/**
 * Edits the message at `seq`. Without `metadata` or `mentions` the message keeps its own. Leave out `mentions` that do not
 * change, because a mentioned user may have left. If the server refuses, the message is shown as before. Rejects with
 * TidingsError.
 */
export function editMessage(
  room: Room,
  seq: number,
  content: string,
  metadata?: object,
  mentions?: readonly string[],
): Promise<void> {
  return send(room, { type: "message:edit", seq, content, metadata, mentions });
}

/** Deletes the message at `seq`. If the server refuses, the message is shown again. Rejects with TidingsError. */
export function deleteMessage(room: Room, seq: number): Promise<void> {
  return send(room, { type: "message:delete", seq });
}

/** Adds a reaction to the message at `seq`, and hides it again if the server refuses. Rejects with TidingsError. */
export function react(room: Room, seq: number, emoji: string): Promise<void> {
  return send(room, { type: "reaction:add", seq, emoji });
}

/** Removes a reaction from the message at `seq`, and shows it again if the server refuses. Rejects with TidingsError. */
export function unreact(room: Room, seq: number, emoji: string): Promise<void> {
  return send(room, { type: "reaction:remove", seq, emoji });
}
