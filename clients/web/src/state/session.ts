import { cleanName, userIdOf } from "../logic/names.ts";

/** Who uses this tab. */
export interface Session {
  readonly user: string;
  readonly name: string;
}

const KEY = "tidings.session";
/** What a tab keeps when one has signed out in it, so that it does not sign in again by itself. */
const SIGNED_OUT = "-";

/** A storage, or what does the same. */
type Place = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/**
 * Who is signed in, by tab: so that two tabs may be two people. A new tab begins as whoever signed in last.
 *
 * @param tab lives as long as the tab
 * @param device is shared by all tabs
 */
export function makeSessions(tab: Place, device: Place) {
  const named = (name: string | null): Session | undefined => {
    const clean = cleanName(name);
    return clean === undefined ? undefined : { user: userIdOf(clean), name: clean };
  };
  return {
    load: (): Session | undefined => {
      const own = attempt(() => tab.getItem(KEY)) ?? null;
      if (own === SIGNED_OUT) return undefined;
      const session = named(own ?? attempt(() => device.getItem(KEY)) ?? null);
      if (session) attempt(() => tab.setItem(KEY, session.name));
      return session;
    },
    save: (session: Session): void => {
      attempt(() => tab.setItem(KEY, session.name));
      attempt(() => device.setItem(KEY, session.name));
    },
    clear: (session: Session): void => {
      attempt(() => tab.setItem(KEY, SIGNED_OUT));
      if (attempt(() => device.getItem(KEY)) === session.name) attempt(() => device.removeItem(KEY));
    },
  };
}

/** Storage may be full or forbidden: the session lives as long as the page then. */
function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}
