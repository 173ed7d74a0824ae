import type { Room, TidingsClientLike } from "@tidings/client";
import { createContext, useContext } from "react";

/** Provides the client to the hooks. */
export const TidingsContext = createContext<TidingsClientLike | undefined>(undefined);

/**
 * Returns the client of the nearest {@link TidingsProvider}, for functions that have no hook, such as `search`,
 * `createRoom` and `retryNow`.
 *
 * @throws Error when the component is not inside a provider.
 */
export function useTidings(): TidingsClientLike {
  const client = useContext(TidingsContext);
  if (client === undefined)
    throw new Error("useTidings and the other hooks must be used inside a <TidingsProvider>");
  return client;
}

/** Returns a room of the client of the nearest provider. The same id always gives the same object. */
export function useRoomObject(id: string): Room {
  return useTidings().room(id);
}
