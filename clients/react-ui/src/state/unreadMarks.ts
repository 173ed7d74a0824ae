import { tryStorage } from "./tryStorage.js";

/**
 * The rooms that the user has marked as unread, to return to them later. The read mark of the server never moves back,
 * so these marks belong to this device; its tabs share them.
 */
export interface UnreadMarks {
  /** The marked rooms. The object stays the same until a mark changes. */
  readonly get: () => ReadonlySet<string>;
  readonly set: (room: string, marked: boolean) => void;
  readonly subscribe: (listener: () => void) => () => void;
}

/** Creates the marks of a user. Without a storage they last while the page is open, as on a server without a `page`. */
export function createUnreadMarks(
  user: string,
  storage: Pick<Storage, "getItem" | "setItem"> | undefined,
  page: Pick<Window, "addEventListener" | "removeEventListener"> | undefined,
): UnreadMarks {
  const key = `tidings.unread.${user}`;
  const load = (): ReadonlySet<string> => {
    const rooms: unknown = tryStorage(() => JSON.parse(storage?.getItem(key) ?? "[]"));
    return new Set(Array.isArray(rooms) ? rooms.filter((room) => typeof room === "string") : []);
  };
  let marks = load();
  const listeners = new Set<() => void>();
  const setMarks = (next: ReadonlySet<string>) => {
    marks = next;
    for (const listener of listeners) listener();
  };
  const onStorage = (event: StorageEvent) => {
    if (event.key === key) setMarks(load());
  };
  return {
    get: () => marks,
    set: (room, marked) => {
      if (marks.has(room) === marked) return;
      const next = new Set(marks);
      if (marked) next.add(room);
      else next.delete(room);
      tryStorage(() => storage?.setItem(key, JSON.stringify([...next])));
      setMarks(next);
    },
    subscribe: (listener) => {
      if (listeners.size === 0) page?.addEventListener("storage", onStorage);
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) page?.removeEventListener("storage", onStorage);
      };
    },
  };
}
