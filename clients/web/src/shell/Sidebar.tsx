import { useConnection, useOutbox, useRooms } from "@tidings/react";
import { type KeyboardEvent, memo, useDeferredValue, useMemo, useState, useSyncExternalStore } from "react";
import { BrowseDialog } from "../dialogs/BrowseDialog.tsx";
import { DirectDialog } from "../dialogs/DirectDialog.tsx";
import { NewRoomDialog } from "../dialogs/NewRoomDialog.tsx";
import { isDown } from "../logic/connection.ts";
import { newestByRoom } from "../logic/preview.ts";
import { roomTitle } from "../logic/title.ts";
import { SearchResults } from "../panel/SearchResults.tsx";
import { useApp } from "../state/app.ts";
import { Button, IconButton } from "../ui/Button.tsx";
import { LoadError } from "../ui/LoadError.tsx";
import { Menu } from "../ui/Menu.tsx";
import { moveFocus } from "../ui/moveFocus.ts";
import { SearchField } from "../ui/SearchField.tsx";
import { AccountButton } from "./AccountButton.tsx";
import { RoomItem } from "./RoomItem.tsx";

type Open = "new" | "browse" | "direct";

/** The list of rooms, the search in all rooms, and the menu for new conversations. */
export const Sidebar = memo(function Sidebar({ current }: { current: string | undefined }) {
  const [open, setOpen] = useState<Open>();
  const [menu, setMenu] = useState<HTMLElement>();
  const [query, setQuery] = useState("");
  const deferredQuery = useDeferredValue(query.trim());
  const close = () => setOpen(undefined);
  return (
    <nav className="sidebar column" aria-label="Rooms">
      <header className="sidebar-header line">
        <AccountButton />
        <IconButton
          icon="plus"
          label="New conversation"
          aria-haspopup="menu"
          onClick={(event) => setMenu(event.currentTarget)}
        />
      </header>
      <SearchField
        label="Search rooms and messages"
        placeholder="Search"
        value={query}
        onChange={setQuery}
        onKeyDown={(event) => event.key === "Escape" && setQuery("")}
      >
        {query !== "" && (
          <IconButton
            icon="close"
            label="Clear search"
            className="small"
            size={16}
            onClick={() => setQuery("")}
          />
        )}
      </SearchField>
      <RoomList
        current={current}
        query={deferredQuery}
        onBrowse={() => setOpen("browse")}
        onNew={() => setOpen("new")}
      />
      {menu && (
        <Menu
          anchor={menu}
          align="end"
          label="New conversation"
          onClose={() => setMenu(undefined)}
          items={[
            { label: "Message a person", icon: "person", onSelect: () => setOpen("direct") },
            { label: "New room", icon: "people", onSelect: () => setOpen("new") },
            { label: "Browse public rooms", icon: "compass", onSelect: () => setOpen("browse") },
          ]}
        />
      )}
      {open === "new" && <NewRoomDialog onClose={close} />}
      {open === "browse" && <BrowseDialog onClose={close} />}
      {open === "direct" && <DirectDialog onClose={close} />}
    </nav>
  );
});

interface RoomListProps {
  readonly current: string | undefined;
  readonly query: string;
  readonly onBrowse: () => void;
  readonly onNew: () => void;
}

const RoomList = memo(function RoomList({ current, query, onBrowse, onNew }: RoomListProps) {
  const { items, loaded, hasMore, more, error, reload } = useRooms();
  const down = isDown(useConnection());
  const { drafts } = useApp();
  const draftTexts = useSyncExternalStore(drafts.subscribe, drafts.published);
  const outbox = useOutbox().items;
  const waiting = useMemo(() => newestByRoom(outbox), [outbox]);
  const filter = query.toLocaleLowerCase();
  const shown =
    filter === "" ? items : items.filter((room) => roomTitle(room).toLocaleLowerCase().includes(filter));

  const onKeyDown = (event: KeyboardEvent<HTMLElement>) =>
    moveFocus(event, "a.room-item", (at, all) =>
      at === -1 ? undefined : { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key],
    );

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: handles the arrow keys of its links
    <div className="sidebar-scroll" onKeyDown={onKeyDown}>
      {!loaded && error === undefined && !down && <RoomSkeleton />}
      {!loaded && error === undefined && down && (
        <div className="side-notice column">
          <p>Your rooms will appear when you are connected.</p>
        </div>
      )}
      {error && <LoadError text="Your rooms could not be loaded." error={error} onRetry={reload} />}
      {filter !== "" && shown.length > 0 && <h2 className="side-heading">Rooms</h2>}
      <ul className="room-list column" data-testid="room-list" aria-label="Your rooms">
        {shown.map((room) => (
          <RoomItem
            key={room.id}
            room={room}
            current={room.id === current}
            draft={draftTexts.get(room.id)}
            waiting={waiting.get(room.id)}
          />
        ))}
      </ul>
      {filter === "" && hasMore && (
        <Button variant="quiet" onClick={() => void more()}>
          Show more rooms
        </Button>
      )}
      {filter !== "" && <SearchResults query={query} heading="Messages" />}
      {loaded && items.length === 0 && filter === "" && (
        <div className="side-notice column">
          <p>You are not in any room yet.</p>
          <Button icon="compass" onClick={onBrowse}>
            Browse public rooms
          </Button>
          <Button icon="plus" onClick={onNew}>
            New room
          </Button>
        </div>
      )}
    </div>
  );
});

function RoomSkeleton() {
  return (
    <div role="status" aria-label="Loading rooms">
      {["60%", "40%", "70%", "50%"].map((width) => (
        <div key={width} className="room-item line">
          <span className="avatar avatar-medium skeleton" />
          <span className="room-item-body column">
            <span className="skeleton skeleton-text" style={{ width }} />
            <span className="skeleton skeleton-text" style={{ width: "90%" }} />
          </span>
        </div>
      ))}
    </div>
  );
}
