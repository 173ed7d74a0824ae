import type { Member, Message, SystemEvent } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { useEffect, useMemo, useState, useSyncExternalStore } from "react";
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
  const directory = namesOf(client);
  const [names] = useState(() => new Map<string, string>());
  /** The users whose names were made from their ids. */
  const [unknown] = useState(() => new Set<string>());
  const getLearnt = () => [...unknown].flatMap((user) => directory.nameOf(user) ?? []).join("\0");
  const learnt = useSyncExternalStore(directory.subscribe, getLearnt, getLearnt);
  // In a large room, mentions and private messages find the names here.
  useEffect(() => {
    namesOf(client).learn(messages.map(({ sender }) => ({ user: sender.id, name: sender.name })));
  }, [client, messages]);
  useEffect(() => client.on("event", ({ room }) => namesOf(client).eventArrived(room)), [client]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the function reads the names that were learnt
  return useMemo(() => {
    for (const event of events)
      if (event.type === "member:added" && event.name) names.set(event.user, event.name);
    for (const { sender } of messages) if (sender.name) names.set(sender.id, sender.name);
    for (const { user, name } of members ?? []) if (name) names.set(user, name);
    return (user) => {
      const name = names.get(user) ?? directory.nameOf(user);
      if (name === undefined) unknown.add(user);
      return displayName(user, name);
    };
  }, [directory, members, messages, events, names, unknown, learnt]);
}
