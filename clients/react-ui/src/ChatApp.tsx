import { useRooms } from "@tidings/react";
import type { MouseEvent, ReactNode } from "react";
import { ChatErrorBoundary, ErrorNotice } from "./ChatErrorBoundary.js";
import { ChatUiProvider, type ChatUiProviderProps } from "./ChatUiProvider.js";
import { MembersPanel } from "./panel/MembersPanel.js";
import { SearchPanel } from "./panel/SearchPanel.js";
import { RoomView } from "./room/RoomView.js";
import { ConnectionBanner } from "./shell/ConnectionBanner.js";
import { EmptyState } from "./shell/EmptyState.js";
import { RoomKeys } from "./shell/RoomSwitcher.js";
import { Sidebar } from "./shell/Sidebar.js";
import { useChatRoute, useChatUi } from "./state/chatUi.js";

/**
 * A whole chat: the list of rooms, the open room, and a panel beside it. Phones show one of these at a time. Takes the
 * properties of {@link ChatUiProvider}; `children` can be components that need the provider and show nothing, such as
 * {@link PageTitle}. The chat must be inside a `TidingsProvider`.
 */
export function ChatApp({ children, ...props }: ChatUiProviderProps): ReactNode {
  return (
    <ChatUiProvider {...props}>
      <Shell>{children}</Shell>
    </ChatUiProvider>
  );
}

/** Moves the focus past the list of rooms: to the messages of the open room, or to the main part of the page. */
function skipToMain(event: MouseEvent): void {
  event.preventDefault();
  const main = document.querySelector<HTMLElement>("main");
  const target = main?.querySelector<HTMLElement>("[role=feed]") ?? main;
  // `main` becomes focusable only here, because clicks must not focus it.
  if (target && target.tabIndex < 0) target.tabIndex = -1;
  target?.focus();
}

function Shell({ children }: { children: ReactNode }) {
  const { href, slots } = useChatUi();
  const route = useChatRoute();
  const { room, panel } = route;
  const { items, loaded } = useRooms();
  const Empty = slots.EmptyState ?? EmptyState;
  return (
    <>
      <a className="tidings-skip-link" href={href?.(route) ?? "#"} onClick={skipToMain}>
        {room === undefined ? "Skip the list of rooms" : "Skip to the conversation"}
      </a>
      {children}
      <div
        className="tidings-shell"
        data-screen={room === undefined ? "list" : (panel ?? "room")}
        data-panel={panel}
      >
        <ChatErrorBoundary
          fallback={(failure) => (
            <nav className="tidings-sidebar tidings-column" aria-label="Rooms">
              <ErrorNotice {...failure} />
            </nav>
          )}
        >
          <Sidebar />
        </ChatErrorBoundary>
        <ChatErrorBoundary
          key={room}
          fallback={(failure) => (
            <main className="tidings-room tidings-column">
              <ErrorNotice {...failure} />
            </main>
          )}
        >
          {room === undefined ? <Empty hasRooms={!loaded || items.length > 0} /> : <RoomView room={room} />}
        </ChatErrorBoundary>
        {room !== undefined && panel !== undefined && (
          <ChatErrorBoundary
            key={`${panel} ${room}`}
            fallback={(failure) => (
              <aside className="tidings-panel tidings-column">
                <ErrorNotice {...failure} />
              </aside>
            )}
          >
            {panel === "members" ? <MembersPanel room={room} /> : <SearchPanel room={room} />}
          </ChatErrorBoundary>
        )}
        <ConnectionBanner />
        <RoomKeys />
      </div>
    </>
  );
}
