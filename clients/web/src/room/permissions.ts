import type { Message, RoomSummary } from "@tidings/client";

/** Whether the user may write and react in a room. */
export function mayWrite(room: RoomSummary | undefined): boolean {
  return room !== undefined && room.role !== "guest" && !room.archived;
}

/** Whether the user may change the members and the settings of a room. */
export function mayManage(room: RoomSummary | undefined): boolean {
  return room?.role === "owner" || room?.role === "admin";
}

/** Whether the user may change a message. Admins and owners may delete the messages of others. */
export function mayChange(room: RoomSummary | undefined, message: Message): boolean {
  return mayWrite(room) && !message.deleted && message.seq !== undefined && (message.mine || mayManage(room));
}

/** The roles that the user may give to a member with the role `current`; empty without permission. */
export function assignableRoles(room: RoomSummary | undefined, current?: string): string[] {
  if (room === undefined || room.archived || room.kind === "direct") return [];
  if (room.role === "owner") return ["owner", "admin", "member", "guest"];
  if (room.role === "admin" && current !== "owner") return ["admin", "member", "guest"];
  return [];
}
