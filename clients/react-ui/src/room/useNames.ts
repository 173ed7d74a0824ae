import type { Member, Message } from "@tidings/client";
import { useMemo, useState } from "react";
import { displayName } from "../logic/names.js";

/**
 * Returns a function that gives the name of a user of a room. It remembers the names of members who leave. The function
 * changes when names may have changed.
 */
export function useNames(
  members: readonly Member[] | undefined,
  messages: readonly Message[],
): (user: string) => string {
  const [names] = useState(() => new Map<string, string>());
  return useMemo(() => {
    for (const { sender } of messages) if (sender.name) names.set(sender.id, sender.name);
    for (const { user, name } of members ?? []) if (name) names.set(user, name);
    return (user) => displayName(user, names.get(user));
  }, [members, messages, names]);
}
