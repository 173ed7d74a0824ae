import { type RefObject, useEffect } from "react";

/** The selector of elements that handle typed keys themselves. */
const KEY_HANDLING_ELEMENTS =
  "input, textarea, select, dialog, [contenteditable], [role=dialog], [role=menu]";

/** Whether the device has a keyboard on its screen, which the focus on an input would open. */
export const hasTouchKeyboard = (): boolean =>
  typeof window !== "undefined" && window.matchMedia("(hover: none) and (pointer: coarse)").matches;

/** Whether no other part of the page has the focus. */
const isInChat = (target: Element): boolean =>
  target === document.body || target.closest(".tidings") !== null;

/** Whether a key writes something: a character, or the content of the clipboard. */
function writesText(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey) return event.key === "v" && !event.altKey;
  // The space key presses buttons and scrolls the list.
  return event.key.length === 1 && event.key !== " " && !event.altKey;
}

/**
 * Moves the focus to the input when the room opens, and when the user types anywhere on the page where no other element
 * uses the key.
 */
export function useComposerFocus(input: RefObject<HTMLTextAreaElement | null>): void {
  useEffect(() => {
    const isFocusTaken =
      document.activeElement?.closest(KEY_HANDLING_ELEMENTS) || document.querySelector("dialog[open]");
    if (!isFocusTaken && !hasTouchKeyboard()) input.current?.focus({ preventScroll: true });
  }, [input]);

  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const target = event.target as Element;
      if (
        event.defaultPrevented ||
        event.isComposing ||
        !writesText(event) ||
        !isInChat(target) ||
        target.closest(KEY_HANDLING_ELEMENTS)
      )
        return;
      // The browser then writes the character into the input.
      input.current?.focus({ preventScroll: true });
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [input]);
}
