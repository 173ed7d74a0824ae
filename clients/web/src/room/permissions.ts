import type { Message, RoomSummary } from "@tidings/client";

/** Whether one may write, react and type in a room. */
export function mayWrite(room: RoomSummary | undefined): boolean {
  return room !== undefined && room.role !== "guest" && !room.archived;
}

/** Whether one may change members and the room itself. */
export function mayManage(room: RoomSummary | undefined): boolean {
  return room?.role === "owner" || room?.role === "admin";
}

/** Whether one may edit or delete a message; admins and owners may with any. */
export function mayChange(room: RoomSummary | undefined, message: Message): boolean {
  return mayWrite(room) && !message.deleted && message.seq !== undefined && (message.mine || mayManage(room));
}

/** The roles that one may give to somebody who has `theirs`; empty where it is not one's to change. */
export function rolesToGive(room: RoomSummary | undefined, theirs?: string): string[] {
  if (room === undefined || room.archived || room.kind === "direct") return [];
  if (room.role === "owner") return ["owner", "admin", "member", "guest"];
  if (room.role === "admin" && theirs !== "owner") return ["admin", "member", "guest"];
  return [];
}
