import type { Message, RoomSummary } from "@tidings/client";
import { MIN_ROLES, ROLES } from "../logic/roles.js";

/** Returns the rank of a role: 0 is the highest. Unknown roles rank as `member`. */
export function roleRank(role: string): number {
  return ROLES.indexOf(ROLES.includes(role) ? role : "member");
}

function allows(room: RoomSummary | undefined, permission: keyof typeof MIN_ROLES): boolean {
  return room?.role !== undefined && roleRank(room.role) <= roleRank(MIN_ROLES[permission]);
}

/** Whether the user may write and react in a room. */
export function mayWrite(room: RoomSummary | undefined): boolean {
  return allows(room, "Send") && !room?.archived;
}

/** The least time between two messages of the user in a room, in seconds; 0 without a limit. */
export function slowModeOf(room: RoomSummary | undefined): number {
  return allows(room, "ChangeRoom") ? 0 : (room?.slowModeS ?? 0);
}

/** Whether the user may change the members and the settings of a room. */
export function mayManage(room: RoomSummary | undefined): boolean {
  return allows(room, "ManageMembers");
}

/** Whether the user may change a message. Admins and owners may delete the messages of others. */
export function mayChange(room: RoomSummary | undefined, message: Message): boolean {
  return (
    mayWrite(room) &&
    !message.deleted &&
    message.seq !== undefined &&
    (message.mine || allows(room, "ChangeAny"))
  );
}

/** The roles that the user may give to a member with the role `current`; empty without permission. */
export function assignableRoles(room: RoomSummary | undefined, current?: string): string[] {
  if (room === undefined || room.archived || room.kind === "direct") return [];
  if (allows(room, "ManageOwners")) return ROLES;
  if (!mayManage(room) || current === MIN_ROLES.ManageOwners) return [];
  return ROLES.filter((role) => role !== MIN_ROLES.ManageOwners);
}
