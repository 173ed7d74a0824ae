import { type KeyboardEvent, type ReactNode, useEffect, useLayoutEffect, useRef, useState } from "react";
import { createPortal } from "react-dom";
import { positionBox } from "./position.js";
import type { Point } from "./useContextMenu.js";

/** The properties of every box above the page. */
export interface PopoverProps {
  /** The element that the box is placed beside. */
  readonly anchor: HTMLElement;
  /** The position of the pointer that opened the box, if the box is placed there. */
  readonly at?: Point | undefined;
  /** The element that gets the focus when the box closes; the anchor by default. */
  readonly returnTo?: HTMLElement | undefined;
  readonly align?: "start" | "end";
  readonly label: string;
  /** Closes the box. */
  readonly onClose: () => void;
}

interface PopoverContent {
  readonly children: ReactNode;
  readonly className: string;
  readonly role: "menu" | "dialog";
  readonly onKeyDown: (event: KeyboardEvent<HTMLDivElement>) => void;
}

/** Closes the box and moves the focus to `returnTo`. */
export function closePopover({ anchor, returnTo = anchor, onClose }: PopoverProps): void {
  onClose();
  returnTo.focus({ preventScroll: true });
}

/** Returns the element of the chat's provider, so that the box has its theme. The anchor may have left the page. */
function placeFor(anchor: HTMLElement): Element {
  const provider = anchor.closest(".tidings-root") ?? document.querySelector(".tidings-root");
  return provider ?? document.body;
}

/** A floating box above the page. Escape, Tab, a click elsewhere and a resize of the window close it. */
export function Popover(props: PopoverProps & PopoverContent) {
  const { anchor, at, align = "start", onClose, children, className, role, label, onKeyDown } = props;
  const box = useRef<HTMLDivElement>(null);
  const [place] = useState(() => placeFor(anchor));
  const latestOnClose = useRef(onClose);
  useEffect(() => {
    latestOnClose.current = onClose;
  });

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const view = { width: window.innerWidth, height: window.innerHeight };
    const size = { width: element.offsetWidth, height: element.offsetHeight };
    const anchorBox = at
      ? { left: at.x, right: at.x, top: at.y, bottom: at.y }
      : anchor.getBoundingClientRect();
    const { left, top } = positionBox(anchorBox, size, view, at ? "start" : align);
    element.style.left = `${left}px`;
    element.style.top = `${top}px`;
    const first =
      element.querySelector<HTMLElement>("[data-autofocus]") ??
      element.querySelector<HTMLElement>("[role^=menuitem], button, input");
    first?.focus({ preventScroll: true });
  }, [anchor, at, align]);

  useEffect(() => {
    const onPointerDown = (event: Event) => {
      const target = event.target as Node;
      if (!box.current?.contains(target) && (at || !anchor.contains(target))) latestOnClose.current();
    };
    const onResize = () => latestOnClose.current();
    document.addEventListener("pointerdown", onPointerDown, true);
    window.addEventListener("resize", onResize);
    return () => {
      document.removeEventListener("pointerdown", onPointerDown, true);
      window.removeEventListener("resize", onResize);
    };
  }, [anchor, at]);

  const handleKeyDown = (event: KeyboardEvent<HTMLDivElement>) => {
    if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      closePopover(props);
      return;
    }
    onKeyDown(event);
  };

  return createPortal(
    // biome-ignore lint/a11y/noStaticElementInteractions: the role is a prop
    // biome-ignore lint/a11y/useAriaPropsSupportedByRole: both roles support a label
    <div
      ref={box}
      className={`tidings-popover ${className}`}
      role={role}
      aria-label={label}
      tabIndex={-1}
      onKeyDown={handleKeyDown}
    >
      {children}
    </div>,
    place,
  );
}
