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
type Place = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** The drafts of a user. A place that fails keeps nothing; the drafts live as long as the page then. */
export function makeDrafts(user: string, place: Place): Drafts {
  const key = `tidings.drafts.${user}`;
  const texts = new Map<string, string>(read(place, key));
  let published: ReadonlyMap<string, string> = new Map(texts);
  const listeners = new Set<() => void>();
  return {
    get: (room) => texts.get(room) ?? "",
    set: (room, text) => {
      if ((texts.get(room) ?? "") === text) return;
      if (text.trim() === "") texts.delete(room);
      else texts.set(room, text);
      try {
        if (texts.size === 0) place.removeItem(key);
        else place.setItem(key, JSON.stringify([...texts]));
      } catch {
        // A full or forbidden storage: the draft lives as long as the page.
      }
    },
    published: () => published,
    publish: () => {
      published = new Map(texts);
      for (const listener of listeners) listener();
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function read(place: Place, key: string): [string, string][] {
  try {
    const found: unknown = JSON.parse(place.getItem(key) ?? "[]");
    if (!Array.isArray(found)) return [];
    return found.filter(
      (pair): pair is [string, string] =>
        Array.isArray(pair) && typeof pair[0] === "string" && typeof pair[1] === "string",
    );
  } catch {
    return [];
  }
}
