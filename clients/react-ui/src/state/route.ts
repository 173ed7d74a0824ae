import { useMemo, useState, useSyncExternalStore } from "react";

/** A panel beside a room. */
export type ChatPanel = "members" | "search";

/** The open room and panel. An empty route means that no room is open. */
export interface ChatRoute {
  readonly room?: string | undefined;
  readonly panel?: ChatPanel | undefined;
  /** The seq of a message of the room to jump to. */
  readonly message?: number | undefined;
}

/** How the components learn where the user is, and go elsewhere. An app with a router can make its own. */
export interface ChatNavigation {
  readonly route: ChatRoute;
  /** Goes to a route. With `replace` the route replaces the current one in the history. */
  readonly go: (route: ChatRoute, replace?: boolean) => void;
  /** The address of a route, for links. Without it rooms have no address, and "Copy link" is not offered. */
  readonly href?: ((route: ChatRoute) => string) | undefined;
}

/** Parses a hash such as `#/room/ID/members` or `#/room/ID/at/42`. A malformed hash means the list of rooms. */
export function parseRoute(hash: string): ChatRoute {
  const [, first, id, panel, position] = hash.split("/");
  if (first !== "room" || !id) return {};
  try {
    const room = decodeURIComponent(id);
    const message = Number(position);
    if (panel === "at" && Number.isSafeInteger(message) && message > 0) return { room, message };
    return panel === "members" || panel === "search" ? { room, panel } : { room };
  } catch {
    return {};
  }
}

/** The URL hash of a route; the inverse of `parseRoute`. */
export function routeHash({ room, panel, message }: ChatRoute): string {
  if (!room) return "#/";
  if (message !== undefined) return `#/room/${encodeURIComponent(room)}/at/${message}`;
  return `#/room/${encodeURIComponent(room)}${panel ? `/${panel}` : ""}`;
}

/** The whole address of a route, to be shared; undefined when routes have no address. */
export function linkTo(href: ChatNavigation["href"], route: ChatRoute): string | undefined {
  const { origin, pathname } = window.location;
  return href && new URL(href(route), `${origin}${pathname}`).href;
}

/**
 * Keeps the route in the hash of the address, such as `#/room/ID/members`, so that the browser's back button and links
 * work.
 */
export function useHashNavigation(): ChatNavigation {
  const hash = useSyncExternalStore(
    subscribe,
    () => window.location.hash,
    () => "",
  );
  return useMemo(() => ({ route: parseRoute(hash), go: navigateTo, href: routeHash }), [hash]);
}

/** Keeps the route in the memory of the page. */
export function useMemoryNavigation(): ChatNavigation {
  const [route, go] = useState<ChatRoute>({});
  return useMemo(() => ({ route, go: (next) => go(next) }), [route]);
}

function subscribe(listener: () => void): () => void {
  window.addEventListener("hashchange", listener);
  window.addEventListener("popstate", listener);
  return () => {
    window.removeEventListener("hashchange", listener);
    window.removeEventListener("popstate", listener);
  };
}

/** Navigates to a route. Goes back if the previous page had this route, so that the history does not grow. */
function navigateTo(route: ChatRoute, replace = false): void {
  const hash = routeHash(route);
  const from = window.location.hash || "#/";
  if (replace) window.history.replaceState(window.history.state, "", hash);
  else if (from === hash) return;
  else if ((window.history.state as { from?: unknown } | null)?.from === hash) {
    window.history.back();
    return;
  } else window.history.pushState({ from }, "", hash);
  window.dispatchEvent(new PopStateEvent("popstate"));
}
