import { type KeyboardEvent, type RefObject, useEffect } from "react";

/** The selector of elements that can get the focus. */
const FOCUSABLE_ELEMENTS =
  "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), video, [tabindex='0']";

/**
 * Opens a dialog over an inert page, and gives the focus back when it closes. Returns the handler of keys, which keeps
 * Tab inside the dialog.
 */
export function useModalDialog(element: RefObject<HTMLDialogElement | null>) {
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
  }, [element]);

  // By default Tab moves the focus to the browser's own controls.
  return (event: KeyboardEvent): void => {
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
}
