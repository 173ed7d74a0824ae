import type { RoomSummary } from "@tidings/client";

/** Puts archived rooms after the others, and keeps the order otherwise. */
export function archivedLast(rooms: readonly RoomSummary[]): readonly RoomSummary[] {
  if (!rooms.some((room) => room.archived)) return rooms;
  return [...rooms.filter((room) => !room.archived), ...rooms.filter((room) => room.archived)];
}
