import type { VisibleTo } from "../protocol/objects.js";
import type { Message } from "../types.js";

/**
 * Returns the audience of a reply: the audience of the original message, and its sender. Returns undefined for a reply
 * to a message that everyone may see.
 * @param me the id of the current user, who sees the reply in any case
 */
export function replyAudience({ visibleTo, sender }: Message, me: string | undefined): VisibleTo | undefined {
  if (!visibleTo) return undefined;
  const { roles } = visibleTo;
  const audience = [...visibleTo.users, sender.id];
  const users = [...new Set(audience)].filter((user) => user !== me);
  // The server refuses an empty audience, so a private note to oneself names the current user.
  return { users: users.length || roles.length ? users : [sender.id], roles };
}
