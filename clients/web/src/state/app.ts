import { createContext, useContext } from "react";
import type { Drafts } from "./drafts.ts";
import type { Place } from "./place.ts";

/** What the parts of the page share beside the client. */
export interface App {
  readonly user: string;
  readonly name: string;
  readonly drafts: Drafts;
  readonly go: (place: Place) => void;
  /** Opens a room and leads to a message of it. */
  readonly goToMessage: (room: string, seq: number) => void;
  readonly signOut: () => void;
}

const AppContext = createContext<App | undefined>(undefined);

/** Hands down what is shared. */
export const AppProvider = AppContext.Provider;

/** What the parts of the page share. */
export function useApp(): App {
  const app = useContext(AppContext);
  if (app === undefined) throw new Error("Only inside of the signed-in page.");
  return app;
}
