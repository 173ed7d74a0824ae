import type { Connection } from "@tidings/client";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

const SERVER_VALUE: Connection = { state: "disconnected", attempt: 0, draining: false, offline: false };

/** The state of the connection, for example to show "reconnecting in 3 s". */
export function useConnection(): Connection {
  return useStore(useTidings().connection, SERVER_VALUE);
}
