import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { EMOJIS, moveInGrid } from "../logic/emoji.js";
import { findEmojis, loadEmojis } from "../logic/emojiNames.js";
import { moveFocus } from "../ui/moveFocus.js";
import { closePopover, Popover, type PopoverProps } from "../ui/Popover.js";
import { SearchField } from "../ui/SearchField.js";

/** The properties of the picker. */
export interface EmojiPickerProps extends PopoverProps {
  /** Receives the chosen emoji. */
  readonly onPick: (emoji: string) => void;
}

/** A picker with a small set of emojis, and a search in all emojis. The arrow keys move, and letters search. */
export function EmojiPicker({ onPick, ...popover }: EmojiPickerProps): ReactNode {
  const search = useRef<HTMLInputElement>(null);
  const [query, setQuery] = useState("");
  const [allEmojis, setAllEmojis] = useState<Awaited<ReturnType<typeof loadEmojis>>>();
  const [loadFailed, setLoadFailed] = useState(false);
  const isSearching = query.trim() !== "";
  useEffect(() => {
    if (!isSearching || allEmojis) return;
    setLoadFailed(false);
    loadEmojis().then(setAllEmojis, () => setLoadFailed(true));
  }, [isSearching, allEmojis]);
  const shownEmojis = isSearching ? findEmojis(allEmojis ?? [], query) : EMOJIS;

  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) => {
    const inSearch = event.target === search.current;
    if (!inSearch && event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey) {
      // The browser then writes the letter into the field.
      search.current?.focus();
    } else if (!inSearch || event.key === "ArrowDown") {
      moveFocus(event, ".tidings-emoji-choice", (at, choices) =>
        inSearch ? 0 : moveInGrid(event.key, at, choices.length),
      );
    } else if (event.key === "Enter" && shownEmojis[0]) {
      event.preventDefault();
      pick(shownEmojis[0][0]);
    }
  };
  const pick = (emoji: string) => {
    closePopover(popover);
    onPick(emoji);
  };
  return (
    <Popover {...popover} role="dialog" className="tidings-emoji-picker tidings-column" onKeyDown={onKeyDown}>
      <SearchField ref={search} label="Search emoji" placeholder="Search" value={query} onChange={setQuery} />
      <div className="tidings-emoji-grid">
        {shownEmojis.map(([emoji, name], index) => (
          <button
            key={emoji}
            type="button"
            className="tidings-emoji-choice tidings-hoverable"
            data-autofocus={index === 0 ? "" : undefined}
            aria-label={name}
            title={name}
            tabIndex={index === 0 ? 0 : -1}
            onClick={() => pick(emoji)}
          >
            {emoji}
          </button>
        ))}
      </div>
      {isSearching && shownEmojis.length === 0 && (
        <p className="tidings-hint tidings-emoji-hint" role="status">
          {loadFailed ? "The emojis could not be loaded" : allEmojis ? "No emoji found" : "Loading…"}
        </p>
      )}
    </Popover>
  );
}
