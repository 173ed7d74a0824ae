/** What was begun in each room, kept over reloads. Told of only when a room is left: typing redraws nothing else. */
export interface Drafts {
  readonly get: (room: string) => string;
  /** Keeps a text; an empty one is forgotten. */
  readonly set: (room: string, text: string) => void;
  /** All drafts by room, for the list of rooms; the same object until `publish` finds others. */
  readonly published: () => ReadonlyMap<string, string>;
  readonly publish: () => void;
  readonly subscribe: (listener: () => void) => () => void;
}

/** Where drafts are kept: the storage of the browser, or what does the same. */
type Place = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

/**
 * The drafts of a user, each under a key of its own: what other tabs keep stays. What a place does not take lives as
 * long as the page.
 */
export function makeDrafts(user: string, place: Place): Drafts {
  // No user id has a space in it.
  const prefix = `tidings.draft.${user} `;
  const unkept = new Map<string, string>();
  const kept = (room: string) => tried(() => place.getItem(prefix + room)) ?? "";
  const get = (room: string) => unkept.get(room) ?? kept(room);
  const all = (): ReadonlyMap<string, string> => {
    const keys = tried(() => Array.from({ length: place.length }, (_, at) => place.key(at) ?? "")) ?? [];
    const rooms = keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
    const texts = [...rooms, ...unkept.keys()].map((room) => [room, get(room)] as const);
    return new Map(texts.filter(([, text]) => text !== ""));
  };
  let published = all();
  const listeners = new Set<() => void>();
  return {
    get,
    set: (room, text) => {
      if (get(room) === text) return;
      const next = text.trim() === "" ? "" : text;
      tried(() => (next === "" ? place.removeItem(prefix + room) : place.setItem(prefix + room, next)));
      if (kept(room) === next) unkept.delete(room);
      else unkept.set(room, next);
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

/** What a storage answers; nothing where it is full or forbidden. */
function tried<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch {
    return undefined;
  }
}
