import { useRooms } from "@tidings/react";
import { type KeyboardEvent, type ReactNode, useEffect, useId, useMemo, useState } from "react";
import { fold } from "../logic/fold.js";
import { archivedLast } from "../logic/roomOrder.js";
import { badgeText, roomTitle } from "../logic/title.js";
import { useChatRoute, useChatUi } from "../state/chatUi.js";
import { Dialog } from "../ui/Dialog.js";
import { RoomAvatar } from "../ui/RoomAvatar.js";
import { SearchField } from "../ui/SearchField.js";

/** The most rooms that the switcher shows. */
const MAX_SHOWN_ROOMS = 12;

/** A dialog that finds a room by its name: the arrow keys choose one, and Enter opens it. */
export function RoomSwitcher({ onClose }: { readonly onClose: () => void }): ReactNode {
  const { go } = useChatUi();
  const { room: current } = useChatRoute();
  const { items } = useRooms();
  const [query, setQuery] = useState("");
  const [chosenIndex, setChosenIndex] = useState(0);
  const id = useId();
  const words = fold(query).split(/\s+/);
  const matchingRooms = items
    .filter((room) => words.every((word) => fold(roomTitle(room)).includes(word)))
    // Puts the current room last, so that Enter without a query goes to the room that was open before.
    .sort((a, b) => Number(a.id === current) - Number(b.id === current))
    .slice(0, MAX_SHOWN_ROOMS);
  const at = Math.min(chosenIndex, matchingRooms.length - 1);
  const open = (room: string | undefined) => {
    if (room === undefined) return;
    onClose();
    go({ room });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined)
      setChosenIndex((at + step + matchingRooms.length) % Math.max(1, matchingRooms.length));
    else if (event.key === "Enter") open(matchingRooms[at]?.id);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Go to room" onClose={onClose}>
      <SearchField
        label="Name of the room"
        placeholder="Name of the room"
        value={query}
        onChange={(text) => {
          setQuery(text);
          setChosenIndex(0);
        }}
        onKeyDown={onKeyDown}
        role="combobox"
        aria-expanded={matchingRooms.length > 0}
        aria-controls={`${id} list`}
        aria-activedescendant={matchingRooms[at] && `${id} ${matchingRooms[at].id}`}
        aria-autocomplete="list"
        autoComplete="off"
        data-autofocus=""
      />
      <div
        id={`${id} list`}
        className="tidings-switch-list tidings-column"
        role="listbox"
        aria-label="Rooms found"
      >
        {matchingRooms.map((room, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the input handles the keys
          // biome-ignore lint/a11y/useFocusableInteractive: the focus stays in the input
          <div
            key={room.id}
            id={`${id} ${room.id}`}
            className="tidings-switch-item tidings-hoverable tidings-line"
            role="option"
            aria-selected={index === at}
            onClick={() => open(room.id)}
          >
            <RoomAvatar room={room} />
            <span className="tidings-ellipsis" dir="auto">
              {roomTitle(room)}
            </span>
            {room.unread > 0 && (
              <span className="tidings-badge">
                {badgeText(room.unread, room.unreadCapped)}
                <span className="tidings-visually-hidden"> unread</span>
              </span>
            )}
          </div>
        ))}
      </div>
      {matchingRooms.length === 0 && (
        <p className="tidings-hint" role="status">
          No room has this name
        </p>
      )}
    </Dialog>
  );
}

/** The keys of the whole page: Ctrl+K or Cmd+K opens the switcher, Alt and an arrow opens the next room of the list. */
export function RoomKeys(): ReactNode {
  const { go } = useChatUi();
  const { room: current } = useChatRoute();
  const rooms = useRooms().items;
  const items = useMemo(() => archivedLast(rooms), [rooms]);
  const [isOpen, setIsOpen] = useState(false);
  useEffect(() => {
    const onKeyDown = (event: globalThis.KeyboardEvent) => {
      if (event.defaultPrevented || event.shiftKey || document.querySelector("dialog[open]")) return;
      const command = event.ctrlKey !== event.metaKey && !event.altKey;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (command && event.key.toLowerCase() === "k") setIsOpen(true);
      else if (event.altKey && !event.ctrlKey && !event.metaKey && step !== undefined) {
        const at = items.findIndex((room) => room.id === current);
        const next = at === -1 ? items[0] : items[at + step];
        if (next) go({ room: next.id });
      } else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [items, current, go]);
  return isOpen && <RoomSwitcher onClose={() => setIsOpen(false)} />;
}
