import type { RoomSummary } from "@tidings/client";
import { usePresence } from "@tidings/react";
import type { ReactNode } from "react";
import { STATUS_LABELS } from "../logic/connection.js";
import { plural } from "../logic/names.js";
import { lastSeen } from "../logic/time.js";
import { roomTitle } from "../logic/title.js";
import { useChatRoute, useChatUi } from "../state/chatUi.js";
import type { ChatPanel } from "../state/route.js";
import { useNow } from "../state/useNow.js";
import { IconButton } from "../ui/Button.js";
import { RoomAvatar } from "../ui/RoomAvatar.js";
import { useRoomContext } from "./roomContext.js";

/** The header of a room: its name, a line of details, and the buttons for search and members. */
export function RoomHeader(): ReactNode {
  const { go, slots } = useChatUi();
  const { room, summary } = useRoomContext();
  const route = useChatRoute();
  const panel = route.room === room ? route.panel : undefined;
  const toggle = (which: ChatPanel) => go(panel === which ? { room } : { room, panel: which });
  return (
    <header className="tidings-room-header tidings-bar tidings-line">
      <IconButton icon="back" label="Back to rooms" className="tidings-only-narrow" onClick={() => go({})} />
      {summary ? (
        <RoomAvatar room={summary} />
      ) : (
        <span className="tidings-avatar tidings-avatar-medium tidings-skeleton" />
      )}
      <div className="tidings-room-header-text tidings-two-lines">
        <h1>
          {summary ? (
            roomTitle(summary)
          ) : (
            <span className="tidings-skeleton tidings-skeleton-text" style={{ width: "40%" }} />
          )}
        </h1>
        <p>
          {summary ? summary.kind === "direct" ? <PeerLine room={summary} /> : groupLine(summary) : "\u00a0"}
        </p>
      </div>
      {slots.HeaderActions && <slots.HeaderActions room={room} summary={summary} />}
      <IconButton
        icon="search"
        label="Search in this room"
        aria-expanded={panel === "search"}
        onClick={() => toggle("search")}
      />
      <IconButton
        icon="people"
        label="Members"
        aria-expanded={panel === "members"}
        onClick={() => toggle("members")}
      />
    </header>
  );
}

function groupLine(room: RoomSummary): string {
  const kind = room.kind === "public" ? "Public room" : "Private room";
  return room.archived ? `${kind} · archived` : `${kind} · ${plural(room.members, "member")}`;
}

function PeerLine({ room }: { room: RoomSummary }) {
  const now = useNow(60_000);
  const presence = usePresence(room.peer?.user ?? "-");
  if (!room.peer || !presence) return "Direct message";
  if (presence.status === "offline" && presence.lastSeen !== null) return lastSeen(presence.lastSeen, now);
  return STATUS_LABELS[presence.status];
}
