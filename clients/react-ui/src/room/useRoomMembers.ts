import type { Member } from "@tidings/client";
import { useMembers, useTidings } from "@tidings/react";
import { useEffect, useMemo, useSyncExternalStore } from "react";
import { MAX_MEMBERS_WITH_RECEIPTS } from "../logic/ticks.js";
import { namesOf } from "../state/names.js";

/** A user and, if it is known, the name. */
type Named = Pick<Member, "user" | "name">;

/** Whether the room has so few members that all of them are loaded with it. */
export function useIsSmall(room: string): boolean {
  const { state } = useTidings().room(room);
  return useSyncExternalStore(
    state.subscribe,
    () => (state.get().summary?.members ?? Number.POSITIVE_INFINITY) <= MAX_MEMBERS_WITH_RECEIPTS,
    () => false,
  );
}

/**
 * All members of a small room. Undefined in a larger room, of which only the panel and dialogs load members, by page.
 */
export function useAllMembers(room: string): readonly Member[] | undefined {
  const isSmall = useIsSmall(room);
  const { items, hasMore } = useMembers(room, { load: isSmall });
  return isSmall && !hasMore ? items : undefined;
}

/** The names of these users of a room. In a larger room it asks the server for unknown names. */
export function useNamesIn(room: string, users: readonly string[]): readonly Named[] {
  const isSmall = useIsSmall(room);
  const { items } = useMembers(room, { load: isSmall });
  const client = useTidings();
  const directory = namesOf(client);
  const me = client.me.get();
  const nameOf = (user: string) =>
    items?.find((one) => one.user === user)?.name ??
    (user === me?.id ? me.name : undefined) ??
    directory.nameOf(user);
  // The texts change only with these users and their names, which contain no NUL.
  const getNames = () => users.map((user) => nameOf(user) ?? "").join("\0");
  const names = useSyncExternalStore(directory.subscribe, getNames, getNames);
  const ids = users.join("\0");
  const named = useMemo(() => {
    const texts = names.split("\0");
    const list = ids === "" ? [] : ids.split("\0");
    return list.map((user, at): Named => (texts[at] ? { user, name: texts[at] } : { user }));
  }, [ids, names]);
  const unknown = named.flatMap(({ user, name }) => (name || user === me?.id ? [] : user)).join("\0");
  useEffect(() => {
    if (isSmall || !unknown) return;
    const { summary } = client.room(room).state.get();
    return directory.lookUp(room, unknown.split("\0"), summary?.members ?? Number.POSITIVE_INFINITY);
  }, [client, directory, room, isSmall, unknown]);
  return named;
}
