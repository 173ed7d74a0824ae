import type { Member, PresenceStatus } from "@tidings/client";
import { displayName } from "../logic/names.ts";

const RANKS = new Map([
  ["owner", 0],
  ["admin", 1],
  ["guest", 3],
]);
/** Roles of a name of one's own stand beside members. */
const rank = (role: string) => RANKS.get(role) ?? 2;

/** Members as they are read: who is there first, then by role and name. */
export function sortMembers(
  members: readonly Member[],
  statusOf: (user: string) => PresenceStatus | undefined,
): Member[] {
  const away = (user: string) => (["online", "away"].includes(statusOf(user) ?? "") ? 0 : 1);
  return [...members].sort(
    (a, b) =>
      away(a.user) - away(b.user) ||
      rank(a.role) - rank(b.role) ||
      displayName(a.user, a.name).localeCompare(displayName(b.user, b.name)),
  );
}
