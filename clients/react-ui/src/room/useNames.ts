import type { Member, Message, SystemEvent } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { useEffect, useMemo, useState } from "react";
import { displayName } from "../logic/names.js";
import { namesOf } from "../state/names.js";

/**
 * Returns a function that gives the name of a user of a room. It remembers the names of members who leave. The function
 * changes when names may have changed.
 */
export function useNames(
  members: readonly Member[] | undefined,
  messages: readonly Message[],
  events: readonly SystemEvent[],
): (user: string) => string {
  const client = useTidings();
  const [names] = useState(() => new Map<string, string>());
  // In a large room, mentions and private messages find the names here.
  useEffect(() => {
    namesOf(client).learn(messages.map(({ sender }) => ({ user: sender.id, name: sender.name })));
  }, [client, messages]);
  useEffect(() => client.on("event", ({ room }) => namesOf(client).eventArrived(room)), [client]);
  return useMemo(() => {
    for (const event of events)
      if (event.type === "member:added" && event.name) names.set(event.user, event.name);
    for (const { sender } of messages) if (sender.name) names.set(sender.id, sender.name);
    for (const { user, name } of members ?? []) if (name) names.set(user, name);
    return (user) => displayName(user, names.get(user) ?? namesOf(client).nameOf(user));
  }, [client, members, messages, events, names]);
}
