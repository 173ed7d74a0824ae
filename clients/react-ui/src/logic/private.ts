import type { Message, VisibleTo } from "@tidings/client";
import { listNames } from "./names.js";

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
  const names = audienceNames({ users, roles }, nameOf);
  return `${message.mine ? "Only" : "Private: only"} for ${listNames(names, 4)}`;
}

/** The names of the users who may see a private message; empty for a public message. */
export function audienceNames(
  audience: VisibleTo | undefined,
  nameOf: (user: string) => string,
): readonly string[] {
  const { users = [], roles = [] } = audience ?? {};
  return [...users.map(nameOf), ...roles.map((role) => `everyone with the role ${role}`)];
}
