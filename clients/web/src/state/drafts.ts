import { tryStorage } from "./tryStorage.ts";

/**
 * The unsent text of each room, kept across reloads. Only `publish` notifies subscribers, so that typing does not
 * render the list of rooms.
 */
export interface Drafts {
  readonly get: (room: string) => string;
  /** Saves a text, or removes the draft when the text is empty. */
  readonly set: (room: string, text: string) => void;
  /** All drafts by room, for the list of rooms. The object stays the same until `publish`. */
  readonly published: () => ReadonlyMap<string, string>;
  readonly publish: () => void;
  readonly subscribe: (listener: () => void) => () => void;
}

/** The part of the browser's storage that drafts use, so that tests can replace it. */
type DraftStorage = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

/**
 * Creates the drafts of a user. Each draft has its own key, so that tabs do not overwrite each other. A draft that the
 * storage rejects stays in memory while the page is open.
 */
export function createDrafts(user: string, storage: DraftStorage): Drafts {
  // The space ends the user id. User ids contain no space, so no prefix matches the keys of another user.
  const prefix = `tidings.draft.${user} `;
  const inMemory = new Map<string, string>();
  const stored = (room: string) => tryStorage(() => storage.getItem(prefix + room)) ?? "";
  const get = (room: string) => inMemory.get(room) ?? stored(room);
  const all = (): ReadonlyMap<string, string> => {
    const keys =
      tryStorage(() => Array.from({ length: storage.length }, (_, at) => storage.key(at) ?? "")) ?? [];
    const rooms = keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
    const texts = [...rooms, ...inMemory.keys()].map((room) => [room, get(room)] as const);
    return new Map(texts.filter(([, text]) => text !== ""));
  };
  let published = all();
  const listeners = new Set<() => void>();
  return {
    get,
    set: (room, text) => {
      if (get(room) === text) return;
      const next = text.trim() === "" ? "" : text;
      tryStorage(() =>
        next === "" ? storage.removeItem(prefix + room) : storage.setItem(prefix + room, next),
      );
      if (stored(room) === next) inMemory.delete(room);
      else inMemory.set(room, next);
    },
    published: () => published,
    publish: () => {
      published = all();
      for (const listener of listeners) listener();
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
