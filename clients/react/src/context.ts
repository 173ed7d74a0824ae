import type { Room, TidingsClient } from "@tidings/client";
import { createContext, useContext } from "react";

/** Holds the client that the hooks below it use. */
export const TidingsContext = createContext<TidingsClient | undefined>(undefined);

/**
 * The client of the nearest {@link TidingsProvider}: for what has no hook, such as `search`, `createRoom` and
 * `retryNow`.
 *
 * @throws Error when no provider is above.
 */
export function useTidings(): TidingsClient {
  const client = useContext(TidingsContext);
  if (client === undefined)
    throw new Error("useTidings and the other hooks need a <TidingsProvider> above them");
  return client;
}

/** The room of the nearest client; the same object for the same id. */
export function useRoomObject(id: string): Room {
  return useTidings().room(id);
}
