import { type KeyboardEvent, type ReactNode, useEffect, useLayoutEffect, useRef } from "react";
import { createPortal } from "react-dom";
import { positionBox } from "./position.ts";

/** The properties of every box above the page. */
export interface PopoverProps {
  /** The element that the box is placed beside. */
  readonly anchor: HTMLElement;
  /** The element that gets the focus when the box closes; the anchor by default. */
  readonly returnTo?: HTMLElement | undefined;
  readonly align?: "start" | "end";
  readonly label: string;
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

/** A floating box above the page. Escape, Tab, a click elsewhere and a resize of the window close it. */
export function Popover(props: PopoverProps & PopoverContent) {
  const { anchor, align = "start", onClose, children, className, role, label, onKeyDown } = props;
  const box = useRef<HTMLDivElement>(null);
  const close = useRef(onClose);
  useEffect(() => {
    close.current = onClose;
  });

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const view = { width: window.innerWidth, height: window.innerHeight };
    const size = { width: element.offsetWidth, height: element.offsetHeight };
    const { left, top } = positionBox(anchor.getBoundingClientRect(), size, view, align);
    element.style.left = `${left}px`;
    element.style.top = `${top}px`;
    element
      .querySelector<HTMLElement>("[data-autofocus], [role^=menuitem], button, input")
      ?.focus({ preventScroll: true });
  }, [anchor, align]);

  useEffect(() => {
    const outside = (event: Event) => {
      const target = event.target as Node;
      if (!box.current?.contains(target) && !anchor.contains(target)) close.current();
    };
    const away = () => close.current();
    document.addEventListener("pointerdown", outside, true);
    window.addEventListener("resize", away);
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      window.removeEventListener("resize", away);
    };
  }, [anchor]);

  const keys = (event: KeyboardEvent<HTMLDivElement>) => {
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
      className={`popover ${className}`}
      role={role}
      aria-label={label}
      tabIndex={-1}
      onKeyDown={keys}
    >
      {children}
    </div>,
    document.body,
  );
}
