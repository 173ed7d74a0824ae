import type { Lifecycle } from "./types.js";

/** The lifecycle of an app that is always visible and always has a network. */
export const alwaysActive: Lifecycle = { online: () => true, subscribe: () => () => {} };

/** Returns the lifecycle of the browser's page, or `alwaysActive` where there is no document. */
export function browserLifecycle(): Lifecycle {
  const page = globalThis as unknown as Window;
  const { document } = page;
  // Some platforms have only one of `document` and `addEventListener`.
  if (!document || !page.addEventListener) return alwaysActive;
  const inputTypes = ["keydown", "pointerdown", "pointermove", "wheel"] as const;
  const eventTypes = ["online", "offline", "pagehide", "pageshow", "visibilitychange"] as const;
  return {
    online: () => page.navigator?.onLine !== false,
    visible: () => document.visibilityState !== "hidden",
    subscribe(listener) {
      const handler = ({ type }: Event) => {
        if (type === "pagehide") listener("hide");
        else if (type === "online" || type === "offline") listener(type);
        // The browser sends `pageshow` when it restores a page from its cache. The page may then be visible or hidden.
        else listener(document.visibilityState);
      };
      for (const type of eventTypes) page.addEventListener(type, handler, true);
      return () => {
        for (const type of eventTypes) page.removeEventListener(type, handler, true);
      };
    },
    onInput(listener) {
      const handler = (event: Event) => {
        const { movementX, movementY } = event as PointerEvent;
        // When the content moves below a pointer that rests, browsers send a move by 0 pixels.
        if (event.type !== "pointermove" || movementX || movementY) listener();
      };
      const options = { capture: true, passive: true };
      for (const type of inputTypes) page.addEventListener(type, handler, options);
      return () => {
        for (const type of inputTypes) page.removeEventListener(type, handler, options);
      };
    },
  };
}
