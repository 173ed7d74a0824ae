/** Changes of existing messages. The kit sends each change again until it is stored or refused. */
import { ChangesFeature } from "./change/changes.js";
import type { RoomImpl } from "./room/room.js";
import type { Room } from "./types.js";

const changes = (room: Room) => (room as RoomImpl).features.of(ChangesFeature);

/** Edits a message; without `metadata` the metadata stays. Rejects with TidingsError. */
export async function editMessage(
  room: Room,
  seq: number,
  content: string,
  metadata?: object,
): Promise<void> {
  await changes(room).send({ type: "message:edit", content, ...(metadata && { metadata }) }, seq);
}

/** Deletes a message. Rejects with TidingsError. */
export async function deleteMessage(room: Room, seq: number): Promise<void> {
  await changes(room).send({ type: "message:delete" }, seq);
}

/**
 * Adds a reaction. The kit shows it at once, and removes it again if the server refuses it. Rejects with TidingsError.
 */
export function react(room: Room, seq: number, emoji: string): Promise<void> {
  return changes(room).react(seq, emoji, true);
}

/**
 * Removes a reaction. The kit hides it at once, and shows it again if the server refuses. Rejects with TidingsError.
 */
export function unreact(room: Room, seq: number, emoji: string): Promise<void> {
  return changes(room).react(seq, emoji, false);
}
