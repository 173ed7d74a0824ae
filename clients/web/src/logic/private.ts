import type { Message } from "@tidings/client";
import { listNames } from "./names.ts";

/**
 * Whom a private message is for. Only that it is private as long as it is not known what they are called: a name made
 * of an id would be another one a moment later.
 */
export function privateWords(message: Message, known: boolean, nameOf: (user: string) => string): string {
  const { users = [], roles = [] } = message.visibleTo ?? {};
  if (!known && users.length > 0) return "Private";
  const names = [...users.map(nameOf), ...roles.map((role) => `everyone who is ${role}`)];
  return `${message.mine ? "Only" : "Private: only"} for ${listNames(names, 4)}`;
}
