import { type ReactNode, useDeferredValue, useState } from "react";
import { BrowseDialog } from "../dialogs/BrowseDialog.js";
import { DirectDialog } from "../dialogs/DirectDialog.js";
import { NewRoomDialog } from "../dialogs/NewRoomDialog.js";
import { useChatUi } from "../state/chatUi.js";
import { IconButton } from "../ui/Button.js";
import { Menu } from "../ui/Menu.js";
import { SearchField } from "../ui/SearchField.js";
import { AccountButton } from "./AccountButton.js";
import { RoomList } from "./RoomList.js";

type SidebarDialog = "new" | "browse" | "direct";

/** The list of rooms, the search in all rooms, and the menu for new conversations. */
export function Sidebar(): ReactNode {
  const Header = useChatUi().slots.SidebarHeader ?? AccountButton;
  const [openDialog, setOpenDialog] = useState<SidebarDialog>();
  const [menu, setMenu] = useState<HTMLElement>();
  const [query, setQuery] = useState("");
  const deferredQuery = useDeferredValue(query.trim());
  const close = () => setOpenDialog(undefined);
  return (
    <nav className="tidings-sidebar tidings-column" aria-label="Rooms">
      <header className="tidings-sidebar-header tidings-line">
        <Header />
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
            className="tidings-small"
            size={16}
            onClick={() => setQuery("")}
          />
        )}
      </SearchField>
      <RoomList
        query={deferredQuery}
        onBrowse={() => setOpenDialog("browse")}
        onNew={() => setOpenDialog("new")}
      />
      {menu && (
        <Menu
          anchor={menu}
          align="end"
          label="New conversation"
          onClose={() => setMenu(undefined)}
          items={[
            { label: "Message a person", icon: "person", onSelect: () => setOpenDialog("direct") },
            { label: "New room", icon: "people", onSelect: () => setOpenDialog("new") },
            { label: "Browse public rooms", icon: "compass", onSelect: () => setOpenDialog("browse") },
          ]}
        />
      )}
      {openDialog === "new" && <NewRoomDialog onClose={close} />}
      {openDialog === "browse" && <BrowseDialog onClose={close} />}
      {openDialog === "direct" && <DirectDialog onClose={close} />}
    </nav>
  );
}
