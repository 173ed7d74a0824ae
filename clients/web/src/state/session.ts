import { cleanName, userIdOf } from "../../serve/names.mjs";
import { tryStorage } from "./tryStorage.ts";

/** The user who is signed in in this tab. */
export interface Session {
  readonly user: string;
  readonly name: string;
}

const SESSION_KEY = "tidings.session";
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
    const cleanedName = cleanName(name);
    return cleanedName === undefined ? undefined : { user: userIdOf(cleanedName), name: cleanedName };
  };
  return {
    load: (): Session | undefined => {
      const tabName = tryStorage(() => tab.getItem(SESSION_KEY)) ?? null;
      if (tabName === SIGNED_OUT) return undefined;
      const session = sessionFor(tabName ?? tryStorage(() => device.getItem(SESSION_KEY)) ?? null);
      if (session) tryStorage(() => tab.setItem(SESSION_KEY, session.name));
      return session;
    },
    save: (session: Session): void => {
      tryStorage(() => tab.setItem(SESSION_KEY, session.name));
      tryStorage(() => device.setItem(SESSION_KEY, session.name));
    },
    clear: (session: Session): void => {
      tryStorage(() => tab.setItem(SESSION_KEY, SIGNED_OUT));
      if (tryStorage(() => device.getItem(SESSION_KEY)) === session.name)
        tryStorage(() => device.removeItem(SESSION_KEY));
    },
  };
}
