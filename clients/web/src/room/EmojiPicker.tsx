import type { KeyboardEvent } from "react";
import { EMOJIS, moveInGrid } from "../logic/emoji.ts";
import { moveFocus } from "../ui/moveFocus.ts";
import { Popover } from "../ui/Popover.tsx";

interface EmojiPickerProps {
  readonly anchor: HTMLElement;
  readonly returnTo?: HTMLElement | undefined;
  readonly label: string;
  readonly align?: "start" | "end";
  readonly onPick: (emoji: string) => void;
  readonly onClose: () => void;
}

/** A picker with a small set of emojis. The arrow keys move between them. */
export function EmojiPicker({
  anchor,
  returnTo = anchor,
  label,
  align = "start",
  onPick,
  onClose,
}: EmojiPickerProps) {
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) =>
    moveFocus(event, "button", (at, all) => moveInGrid(event.key, at, all.length));
  return (
    <Popover
      anchor={anchor}
      returnTo={returnTo}
      align={align}
      role="dialog"
      label={label}
      className="emoji-picker"
      onClose={onClose}
      onKeyDown={onKeyDown}
    >
      {EMOJIS.map(([emoji, name], index) => (
        <button
          key={emoji}
          type="button"
          className="emoji-choice hoverable"
          aria-label={name}
          title={name}
          tabIndex={index === 0 ? 0 : -1}
          onClick={() => {
            onClose();
            returnTo.focus({ preventScroll: true });
            onPick(emoji);
          }}
        >
          {emoji}
        </button>
      ))}
    </Popover>
  );
}
