import type { RoomSummary } from "@tidings/client";
import { useConnection, useOutbox, useRooms } from "@tidings/react";
import {
  Fragment,
  type KeyboardEvent,
  type ReactNode,
  useCallback,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import { isDown } from "../logic/connection.js";
import { fold } from "../logic/fold.js";
import { isQuiet } from "../logic/muted.js";
import { newestByRoom } from "../logic/preview.js";
import { archivedLast } from "../logic/roomOrder.js";
import { roomTitle } from "../logic/title.js";
import { SearchResults } from "../panel/SearchResults.js";
import { useChatRoute, useChatUi } from "../state/chatUi.js";
import { useMutedRooms } from "../state/useMutedRooms.js";
import { Button } from "../ui/Button.js";
import { LoadError } from "../ui/LoadError.js";
import { moveFocus } from "../ui/moveFocus.js";
import type { Point } from "../ui/useContextMenu.js";
import { RoomItem } from "./RoomItem.js";
import { RoomMenu } from "./RoomMenu.js";

/** The properties of the list of rooms. */
export interface RoomListProps {
  /** Words to search for; empty by default. */
  readonly query?: string;
  /** Opens the public rooms, when the user has no room. Without it there is no such button. */
  readonly onBrowse?: (() => void) | undefined;
  /** Creates a room, when the user has no room. Without it there is no such button. */
  readonly onNew?: (() => void) | undefined;
}

/** The rooms of the user. With a query, shows only the rooms whose names match, and the messages that match. */
export function RoomList({ query = "", onBrowse, onNew }: RoomListProps): ReactNode {
  const { items, loaded, hasMore, more, error, reload } = useRooms();
  const isDisconnected = isDown(useConnection());
  const { unreadMarks } = useChatUi();
  const { room: current } = useChatRoute();
  const markedRooms = useSyncExternalStore(unreadMarks.subscribe, unreadMarks.get, unreadMarks.get);
  const muted = useMutedRooms();
  const [menu, setMenu] = useState<{ room: RoomSummary; anchor: HTMLElement; at: Point | undefined }>();
  const openMenu = useCallback(
    (room: RoomSummary, anchor: HTMLElement, at: Point | undefined) => setMenu({ room, anchor, at }),
    [],
  );
  const [focusedRoom, setFocusedRoom] = useState<string>();
  const outbox = useOutbox().items;
  const newestEntries = useMemo(() => newestByRoom(outbox), [outbox]);
  const filter = fold(query);
  const shownRooms = archivedLast(
    filter === "" ? items : items.filter((room) => fold(roomTitle(room)).includes(filter)),
  );
  const firstArchived = shownRooms.find((room) => room.archived);

  // Tab stops at only one room: the room that had the focus last, else the open room, else the first room.
  const tabStop =
    [focusedRoom, current].find((id) => shownRooms.some((room) => room.id === id)) ?? shownRooms[0]?.id;

  const onKeyDown = (event: KeyboardEvent<HTMLElement>) =>
    moveFocus(event, "a.tidings-room-item", (at, all) =>
      at === -1 || event.altKey
        ? undefined
        : { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key],
    );

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: handles the arrow keys of its links
    <div
      className="tidings-sidebar-scroll"
      onKeyDown={onKeyDown}
      onFocus={(event) => setFocusedRoom((event.target as HTMLElement).dataset.room)}
    >
      {!loaded && items.length === 0 && error === undefined && !isDisconnected && <RoomSkeleton />}
      {!loaded && items.length === 0 && error === undefined && isDisconnected && (
        <div className="tidings-side-notice tidings-column">
          <p>Your rooms will appear when you are connected.</p>
        </div>
      )}
      {error && <LoadError text="Your rooms could not be loaded." error={error} onRetry={reload} />}
      {filter !== "" && shownRooms.length > 0 && <h2 className="tidings-side-heading">Rooms</h2>}
      <ul className="tidings-room-list tidings-column" data-testid="room-list" aria-label="Your rooms">
        {shownRooms.map((room) => (
          <Fragment key={room.id}>
            {room === firstArchived && (
              <li>
                <h2 className="tidings-side-heading">Archived</h2>
              </li>
            )}
            <RoomItem
              room={room}
              current={room.id === current}
              waiting={newestEntries.get(room.id)}
              marked={markedRooms.has(room.id)}
              quiet={isQuiet(room, muted)}
              tabStop={room.id === tabStop}
              onMenu={openMenu}
            />
          </Fragment>
        ))}
      </ul>
      {filter === "" && hasMore && (
        <Button variant="quiet" onClick={() => void more()}>
          Show more rooms
        </Button>
      )}
      {menu && (
        <RoomMenu
          {...menu}
          marked={markedRooms.has(menu.room.id)}
          onMark={(marked) => unreadMarks.set(menu.room.id, marked)}
          onClose={() => setMenu(undefined)}
        />
      )}
      {filter !== "" && <SearchResults query={query} heading="Messages" />}
      {loaded && items.length === 0 && filter === "" && (
        <div className="tidings-side-notice tidings-column">
          <p>You are not in any room yet.</p>
          {onBrowse && (
            <Button icon="compass" onClick={onBrowse}>
              Browse public rooms
            </Button>
          )}
          {onNew && (
            <Button icon="plus" onClick={onNew}>
              New room
            </Button>
          )}
        </div>
      )}
    </div>
  );
}

function RoomSkeleton() {
  return (
    <div role="status" aria-label="Loading rooms">
      {["60%", "40%", "70%", "50%"].map((width) => (
        <div key={width} className="tidings-room-item tidings-line">
          <span className="tidings-avatar tidings-avatar-medium tidings-skeleton" />
          <span className="tidings-room-item-body tidings-column">
            <span className="tidings-skeleton tidings-skeleton-text" style={{ width }} />
            <span className="tidings-skeleton tidings-skeleton-text" style={{ width: "90%" }} />
          </span>
        </div>
      ))}
    </div>
  );
}
