import { useSyncExternalStore } from "react";

/** What stands beside a room. */
export type Panel = "members" | "search";

/** Where one is in the page; kept in the address, so that the browser's back button works. */
export interface Place {
  readonly room?: string | undefined;
  readonly panel?: Panel | undefined;
}

/** Reads `#/room/ID/members`; what is malformed is the list of rooms. */
export function parsePlace(hash: string): Place {
  const [, first, id, panel] = hash.split("/");
  if (first !== "room" || !id) return {};
  try {
    const room = decodeURIComponent(id);
    return panel === "members" || panel === "search" ? { room, panel } : { room };
  } catch {
    return {};
  }
}

/** The address of a place. */
export function placeHash({ room, panel }: Place): string {
  if (!room) return "#/";
  return `#/room/${encodeURIComponent(room)}${panel ? `/${panel}` : ""}`;
}

/** Where one is now. */
export function usePlace(): Place {
  const hash = useSyncExternalStore(subscribe, () => window.location.hash);
  return parsePlace(hash);
}

function subscribe(listener: () => void): () => void {
  window.addEventListener("hashchange", listener);
  window.addEventListener("popstate", listener);
  return () => {
    window.removeEventListener("hashchange", listener);
    window.removeEventListener("popstate", listener);
  };
}

/** Goes somewhere; back, when that is where one came from, so that the history does not grow by going to and fro. */
export function goTo(place: Place): void {
  const hash = placeHash(place);
  const from = window.location.hash || "#/";
  if (from === hash) return;
  if ((window.history.state as { from?: unknown } | null)?.from === hash) {
    window.history.back();
    return;
  }
  window.history.pushState({ from }, "", hash);
  window.dispatchEvent(new PopStateEvent("popstate"));
}
