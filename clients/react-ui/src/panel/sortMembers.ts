import type { Member, PresenceStatus } from "@tidings/client";
import { displayName } from "../logic/names.js";
import { roleRank } from "../room/permissions.js";

/** Sorts members: online and away users come first. Within these groups the order is by role and name. */
export function sortMembers(
  members: readonly Member[],
  statusOf: (user: string) => PresenceStatus | undefined,
): Member[] {
  const offlineRank = (user: string) => (["online", "away"].includes(statusOf(user) ?? "") ? 0 : 1);
  return [...members].sort(
    (a, b) =>
      offlineRank(a.user) - offlineRank(b.user) ||
      roleRank(a.role) - roleRank(b.role) ||
      displayName(a.user, a.name).localeCompare(displayName(b.user, b.name)),
  );
}
