import { type MouseEvent, type PointerEvent, useEffect, useMemo, useRef } from "react";

/** A position in the window, in px. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** How long a finger must rest on an element, in ms, and how far it may move meanwhile, in px. */
const LONG_PRESS_MS = 500;
const MOVE_TOLERANCE_PX = 10;

/**
 * The event handlers of an element with a menu, which the right mouse button, the menu key or a long press opens. The
 * browser's own menu stays for links inside the element and for selected text.
 */
export function useContextMenu(open: (element: HTMLElement, at: Point | undefined) => void) {
  const latestOpen = useRef(open);
  useEffect(() => {
    latestOpen.current = open;
  });
  const handlers = useMemo(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let start: Point | undefined;
    let menuOpened = false;
    const cancel = () => {
      clearTimeout(timer);
      start = undefined;
    };
    return {
      cancel,
      props: {
        onPointerDown: (event: PointerEvent<HTMLElement>) => {
          cancel();
          menuOpened = false;
          if (event.pointerType !== "touch" || !event.isPrimary) return;
          const element = event.currentTarget;
          const at = { x: event.clientX, y: event.clientY };
          start = at;
          timer = setTimeout(() => {
            menuOpened = true;
            latestOpen.current(element, at);
          }, LONG_PRESS_MS);
        },
        onPointerMove: (event: PointerEvent<HTMLElement>) => {
          if (start && Math.hypot(event.clientX - start.x, event.clientY - start.y) > MOVE_TOLERANCE_PX)
            cancel();
        },
        onPointerUp: cancel,
        // The browser cancels the pointer when the finger scrolls.
        onPointerCancel: cancel,
        onClickCapture: (event: MouseEvent<HTMLElement>) => {
          // The end of a long press must not also be a click.
          if (!menuOpened) return;
          menuOpened = false;
          event.preventDefault();
          event.stopPropagation();
        },
        onContextMenu: (event: MouseEvent<HTMLElement>) => {
          const element = event.currentTarget;
          const link = (event.target as Element).closest("a[href]");
          const isInnerLink = link !== null && link !== element && element.contains(link);
          const hasSelection = window.getSelection()?.toString() !== "" && !start && !menuOpened;
          if (isInnerLink || hasSelection) return;
          event.preventDefault();
          // Some browsers send this event for a long press too, before or after the timer.
          if (menuOpened) return;
          menuOpened = start !== undefined;
          cancel();
          const openedByKey = event.button !== 2 && !menuOpened;
          latestOpen.current(element, openedByKey ? undefined : { x: event.clientX, y: event.clientY });
        },
      },
    };
  }, []);
  useEffect(() => handlers.cancel, [handlers]);
  return handlers.props;
}
