import { createContext, useContext } from "react";
import type { Drafts } from "./drafts.ts";
import type { Route } from "./route.ts";

/** The values that all parts of the page share, besides the client. */
export interface App {
  readonly user: string;
  readonly name: string;
  readonly drafts: Drafts;
  readonly go: (route: Route) => void;
  /** Opens a room and jumps to a message in it. */
  readonly goToMessage: (room: string, seq: number) => void;
  readonly signOut: () => void;
}

const AppContext = createContext<App | undefined>(undefined);

/** Provides the values of `App` to the page. */
export const AppProvider = AppContext.Provider;

/** Returns the values of `App`, inside the signed-in page. */
export function useApp(): App {
  const app = useContext(AppContext);
  if (app === undefined) throw new Error("useApp must be used inside the signed-in page");
  return app;
}
