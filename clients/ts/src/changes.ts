/** Changes of messages that are there. Each is repeated until it is stored or refused. */
import { ChangesPart } from "./change/changes.js";
import type { RoomImpl } from "./room/room.js";
import type { Room } from "./types.js";

const changes = (room: Room) => (room as RoomImpl).parts.of(ChangesPart);

/** Changes a message; without `metadata` those of the message stay. Rejects with TidingsError. */
export async function editMessage(
  room: Room,
  seq: number,
  content: string,
  metadata?: object,
): Promise<void> {
  await changes(room).make({ type: "message:edit", content, ...(metadata && { metadata }) }, seq);
}

/** Deletes a message. Rejects with TidingsError. */
export async function deleteMessage(room: Room, seq: number): Promise<void> {
  await changes(room).make({ type: "message:delete" }, seq);
}

/** Gives a reaction. Shown at once, and taken back when it is refused. Rejects with TidingsError. */
export function react(room: Room, seq: number, emoji: string): Promise<void> {
  return changes(room).react(seq, emoji, true);
}

/** Takes a reaction back, in the same way. */
export function unreact(room: Room, seq: number, emoji: string): Promise<void> {
  return changes(room).react(seq, emoji, false);
}
