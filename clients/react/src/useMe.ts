import type { Me } from "@tidings/client";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** The signed-in user as the server knows them, with the server's limits. Undefined until the first connection. */
export function useMe(): Me | undefined {
  return useStore(useTidings().me, undefined);
}
