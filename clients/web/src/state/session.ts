import { cleanName, userIdOf } from "../logic/names.ts";
import { tryStorage } from "./tryStorage.ts";

/** The user who is signed in in this tab. */
export interface Session {
  readonly user: string;
  readonly name: string;
}

const KEY = "tidings.session";
/** The stored value after a sign-out, so that the tab does not sign in again by itself. */
const SIGNED_OUT = "-";

/** The part of the browser's storage that sessions use, so that tests can replace it. */
type SessionStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/**
 * Keeps the signed-in user of each tab, so that two tabs can have two users. A new tab starts with the user who signed
 * in last. Without a storage the session lasts only while the page is open.
 *
 * @param tab the storage of one tab
 * @param device the storage that all tabs share
 */
export function createSessions(tab: SessionStorage, device: SessionStorage) {
  const sessionFor = (name: string | null): Session | undefined => {
    const clean = cleanName(name);
    return clean === undefined ? undefined : { user: userIdOf(clean), name: clean };
  };
  return {
    load: (): Session | undefined => {
      const own = tryStorage(() => tab.getItem(KEY)) ?? null;
      if (own === SIGNED_OUT) return undefined;
      const session = sessionFor(own ?? tryStorage(() => device.getItem(KEY)) ?? null);
      if (session) tryStorage(() => tab.setItem(KEY, session.name));
      return session;
    },
    save: (session: Session): void => {
      tryStorage(() => tab.setItem(KEY, session.name));
      tryStorage(() => device.setItem(KEY, session.name));
    },
    clear: (session: Session): void => {
      tryStorage(() => tab.setItem(KEY, SIGNED_OUT));
      if (tryStorage(() => device.getItem(KEY)) === session.name) tryStorage(() => device.removeItem(KEY));
    },
  };
}
