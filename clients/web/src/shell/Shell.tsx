import { useRooms, useTidings } from "@tidings/react";
import { useEffect, useMemo, useState } from "react";
import { MembersPanel } from "../panel/MembersPanel.tsx";
import { SearchPanel } from "../panel/SearchPanel.tsx";
import { RoomView } from "../room/RoomView.tsx";
import type { JumpTarget } from "../room/useJump.ts";
import { type App, AppProvider } from "../state/app.ts";
import { createDrafts } from "../state/drafts.ts";
import { navigateTo, useRoute } from "../state/route.ts";
import type { Session } from "../state/session.ts";
import { ConnectionBanner } from "./ConnectionBanner.tsx";
import { PageTitle } from "./PageTitle.tsx";
import { Sidebar } from "./Sidebar.tsx";
import { NoRoomOpen, Welcome } from "./Welcome.tsx";

/** The signed-in page: the list of rooms, the open room, and a panel beside it. Phones show one of them at a time. */
export function Shell({ session, onSignOut }: { session: Session; onSignOut: () => void }) {
  const route = useRoute();
  const client = useTidings();
  const { items, loaded } = useRooms();
  const [target, setTarget] = useState<{ room: string; jump: JumpTarget }>();

  const app = useMemo<App>(
    () => ({
      user: session.user,
      name: session.name,
      drafts: createDrafts(session.user, window.localStorage),
      go: navigateTo,
      goToMessage: (room, seq) => {
        setTarget({ room, jump: { seq } });
        // On a narrow screen the search panel closes to show the message. On a wide screen it stays beside the room.
        const narrow = window.matchMedia("(max-width: 1099px)").matches;
        const beside = window.location.hash.endsWith("/search") && !narrow;
        navigateTo(beside ? { room, panel: "search" } : { room });
      },
      signOut: () => {
        client.disconnect();
        onSignOut();
      },
    }),
    [session, client, onSignOut],
  );

  const { room, panel } = route;
  useEffect(() => {
    setTarget((now) => (now?.room === room ? now : undefined));
  }, [room]);

  const empty = loaded && items.length === 0;
  return (
    <AppProvider value={app}>
      <PageTitle room={room} />
      <div className="shell" data-screen={room === undefined ? "list" : (panel ?? "room")} data-panel={panel}>
        <Sidebar current={room} />
        {room !== undefined ? (
          <RoomView
            key={room}
            room={room}
            panel={panel}
            target={target?.room === room ? target.jump : undefined}
          />
        ) : empty ? (
          <Welcome />
        ) : (
          <NoRoomOpen />
        )}
        {room !== undefined && panel === "members" && <MembersPanel key={`members ${room}`} room={room} />}
        {room !== undefined && panel === "search" && <SearchPanel key={`search ${room}`} room={room} />}
        <ConnectionBanner />
      </div>
    </AppProvider>
  );
}
