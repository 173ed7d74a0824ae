import type { Connection } from "@tidings/client";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

const AT_SERVER: Connection = { state: "disconnected", attempt: 0, draining: false, offline: false };

/** How the client stands with the server: for a line such as "connecting again in 3 s". */
export function useConnection(): Connection {
  return useStore(useTidings().connection, AT_SERVER);
}
