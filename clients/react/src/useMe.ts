import type { Me } from "@tidings/client";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** Who the server says that one is, with the limits that it sets; undefined until connected for the first time. */
export function useMe(): Me | undefined {
  return useStore(useTidings().me, undefined);
}
