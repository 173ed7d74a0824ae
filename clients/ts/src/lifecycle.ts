import type { Lifecycle } from "./types.js";

/** For where nothing is known of it: always seen, always with a network. */
export const alwaysActive: Lifecycle = { online: () => true, subscribe: () => () => {} };

/** The lifecycle of a page; where there is no document, that of `alwaysActive`. */
export function browserLifecycle(): Lifecycle {
  const page = globalThis as {
    document?: Document;
    navigator?: Navigator;
    addEventListener?: Window["addEventListener"];
    removeEventListener?: Window["removeEventListener"];
  };
  const { document } = page;
  if (!document || !page.addEventListener) return alwaysActive;
  const types = ["online", "offline", "pagehide", "pageshow", "visibilitychange"] as const;
  return {
    online: () => page.navigator?.onLine !== false,
    subscribe(listener) {
      const heard = ({ type }: Event) => {
        if (type === "pagehide") listener("hide");
        else if (type === "online" || type === "offline") listener(type);
        // A page that comes back from the cache of pages was hidden without being gone.
        else listener(document.visibilityState === "hidden" ? "hidden" : "visible");
      };
      for (const type of types) page.addEventListener?.(type, heard, true);
      return () => {
        for (const type of types) page.removeEventListener?.(type, heard, true);
      };
    },
  };
}
