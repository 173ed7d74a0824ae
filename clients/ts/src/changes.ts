/** Edits, deletions and reactions. The kit repeats each command until the server has stored or refused the change. */
import { ChangesFeature } from "./change/changes.js";
import type { RoomImpl } from "./room/room.js";
import type { Room } from "./types.js";

const changes = (room: Room) => (room as RoomImpl).features.of(ChangesFeature);

/** Edits the message at `seq`. Without `metadata` the message keeps its metadata. Rejects with TidingsError. */
export async function editMessage(
  room: Room,
  seq: number,
  content: string,
  metadata?: object,
): Promise<void> {
  await changes(room).send({ type: "message:edit", content, ...(metadata && { metadata }) }, seq);
}

/** Deletes the message at `seq`. Rejects with TidingsError. */
export async function deleteMessage(room: Room, seq: number): Promise<void> {
  await changes(room).send({ type: "message:delete" }, seq);
}

/**
 * Adds a reaction to the message at `seq`. The kit shows the reaction at once, and hides it if the server refuses it.
 * Rejects with TidingsError.
 */
export function react(room: Room, seq: number, emoji: string): Promise<void> {
  return changes(room).react(seq, emoji, true);
}

/**
 * Removes a reaction from the message at `seq`. The kit hides the reaction at once, and shows it again if the server
 * refuses. Rejects with TidingsError.
 */
export function unreact(room: Room, seq: number, emoji: string): Promise<void> {
  return changes(room).react(seq, emoji, false);
}
