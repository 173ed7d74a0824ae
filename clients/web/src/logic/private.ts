import type { Message } from "@tidings/client";
import { listNames } from "./names.ts";

/**
 * Makes the label of a private message, with its recipients. The label is only "Private" until the names are loaded,
 * because names made from ids would change a moment later.
 */
export function privateLabel(
  message: Message,
  namesKnown: boolean,
  nameOf: (user: string) => string,
): string {
  const { users = [], roles = [] } = message.visibleTo ?? {};
  if (!namesKnown && users.length > 0) return "Private";
  const names = [...users.map(nameOf), ...roles.map((role) => `everyone with the role ${role}`)];
  return `${message.mine ? "Only" : "Private: only"} for ${listNames(names, 4)}`;
}
