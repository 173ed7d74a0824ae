import { type RefObject, useLayoutEffect, useRef } from "react";
import { emojiNamed, endsWithPartialName, loadEmojis, nameAtEnd } from "../logic/emojiNames.js";

/**
 * Replaces a typed name such as `:tada:` before the cursor by its emoji. `insert` replaces the part of the text between
 * two positions.
 */
export function useEmojiNames(
  input: RefObject<HTMLTextAreaElement | null>,
  text: string,
  insert: (emoji: string, from: number, to: number) => void,
): void {
  const latestInsert = useRef(insert);
  useLayoutEffect(() => {
    latestInsert.current = insert;
  });
  const previousText = useRef(text);
  useLayoutEffect(() => {
    const wasTyped = text.length === previousText.current.length + 1;
    previousText.current = text;
    const to = input.current?.selectionEnd ?? 0;
    const textBeforeCursor = text.slice(0, to);
    if (!wasTyped) return;
    if (endsWithPartialName(textBeforeCursor)) void loadEmojis().catch(() => {});
    const name = nameAtEnd(textBeforeCursor);
    if (name === undefined) return;
    let isCurrent = true;
    loadEmojis().then(
      (all) => {
        const emoji = emojiNamed(all, name);
        if (emoji && isCurrent) latestInsert.current(emoji, to - name.length - 2, to);
      },
      () => {},
    );
    return () => {
      isCurrent = false;
    };
  }, [input, text]);
}
