import { type KeyboardEvent, type MouseEvent, type SyntheticEvent, useEffect, useRef } from "react";

/** The selector of elements that can get the focus. */
const FOCUSABLE_ELEMENTS =
  "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), video, [tabindex='0']";

/**
 * Opens a dialog over an inert page, and gives the focus back when it closes. Returns the properties of the dialog: Tab
 * stays inside it, and Escape or a click on the page behind calls `onClose`.
 */
export function useModalDialog(onClose: () => void) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    const previousFocus = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    const first = dialog?.querySelector<HTMLElement>("[data-autofocus]");
    first?.focus();
    return () => {
      dialog?.close();
      if (previousFocus instanceof HTMLElement && previousFocus.isConnected) previousFocus.focus();
    };
  }, []);

  // By default Tab moves the focus to the browser's own controls.
  const onKeyDown = (event: KeyboardEvent): void => {
    // The page behind the dialog must not handle the same Escape.
    event.stopPropagation();
    if (event.key !== "Tab") return;
    const focusables = [...(element.current?.querySelectorAll<HTMLElement>(FOCUSABLE_ELEMENTS) ?? [])].filter(
      (focusable) => focusable.offsetParent,
    );
    const edge = event.shiftKey ? focusables[0] : focusables.at(-1);
    if (document.activeElement === edge) {
      event.preventDefault();
      (event.shiftKey ? focusables.at(-1) : focusables[0])?.focus();
    }
  };
  return {
    ref: element,
    onKeyDown,
    onCancel: (event: SyntheticEvent) => {
      event.preventDefault();
      onClose();
    },
    onClick: (event: MouseEvent) => {
      if (event.target === element.current) onClose();
    },
  };
}
