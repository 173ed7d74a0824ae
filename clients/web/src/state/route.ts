import { useSyncExternalStore } from "react";

/** The panel beside a room. */
export type Panel = "members" | "search";

/** The open room and panel, which are part of the address, so that the browser's back button works. */
export interface Route {
  readonly room?: string | undefined;
  readonly panel?: Panel | undefined;
}

/** Parses a hash such as `#/room/ID/members`. A malformed hash means the list of rooms. */
export function parseRoute(hash: string): Route {
  const [, first, id, panel] = hash.split("/");
  if (first !== "room" || !id) return {};
  try {
    const room = decodeURIComponent(id);
    return panel === "members" || panel === "search" ? { room, panel } : { room };
  } catch {
    return {};
  }
}

/** The URL hash of a route; the inverse of `parseRoute`. */
export function routeHash({ room, panel }: Route): string {
  if (!room) return "#/";
  return `#/room/${encodeURIComponent(room)}${panel ? `/${panel}` : ""}`;
}

/** The current route. */
export function useRoute(): Route {
  const hash = useSyncExternalStore(subscribe, () => window.location.hash);
  return parseRoute(hash);
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
export function navigateTo(route: Route): void {
  const hash = routeHash(route);
  const from = window.location.hash || "#/";
  if (from === hash) return;
  if ((window.history.state as { from?: unknown } | null)?.from === hash) {
    window.history.back();
    return;
  }
  window.history.pushState({ from }, "", hash);
  window.dispatchEvent(new PopStateEvent("popstate"));
}
