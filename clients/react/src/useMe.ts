import type { Me } from "@tidings/client";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** The current user with the limits of the server. Undefined until the first connection. */
export function useMe(): Me | undefined {
  return useStore(useTidings().me, undefined);
}
