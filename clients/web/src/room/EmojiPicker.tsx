import type { KeyboardEvent } from "react";
import { EMOJIS, moveInGrid } from "../logic/emoji.ts";
import { moveFocus } from "../ui/moveFocus.ts";
import { closePopover, Popover, type PopoverProps } from "../ui/Popover.tsx";

interface EmojiPickerProps extends PopoverProps {
  readonly onPick: (emoji: string) => void;
}

/** A picker with a small set of emojis. The arrow keys move between them. */
export function EmojiPicker({ onPick, ...popover }: EmojiPickerProps) {
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) =>
    moveFocus(event, "button", (at, all) => moveInGrid(event.key, at, all.length));
  return (
    <Popover {...popover} role="dialog" className="emoji-picker" onKeyDown={onKeyDown}>
      {EMOJIS.map(([emoji, name], index) => (
        <button
          key={emoji}
          type="button"
          className="emoji-choice hoverable"
          aria-label={name}
          title={name}
          tabIndex={index === 0 ? 0 : -1}
          onClick={() => {
            closePopover(popover);
            onPick(emoji);
          }}
        >
          {emoji}
        </button>
      ))}
    </Popover>
  );
}
