import type { RoomSummary } from "@tidings/client";
import { usePresence } from "@tidings/react";
import { STATUS_LABELS } from "../logic/connection.ts";
import { plural } from "../logic/names.ts";
import { lastSeen } from "../logic/time.ts";
import { roomTitle } from "../logic/title.ts";
import { useApp } from "../state/app.ts";
import type { Panel } from "../state/route.ts";
import { useNow } from "../state/useNow.ts";
import { IconButton } from "../ui/Button.tsx";
import { RoomAvatar } from "../ui/RoomAvatar.tsx";

interface RoomHeaderProps {
  readonly room: string;
  readonly summary: RoomSummary | undefined;
  readonly panel: Panel | undefined;
}

/** The header of a room: its name, a line of details, and the buttons for search and members. */
export function RoomHeader({ room, summary, panel }: RoomHeaderProps) {
  const { go } = useApp();
  const toggle = (which: Panel) => go(panel === which ? { room } : { room, panel: which });
  return (
    <header className="room-header bar line">
      <IconButton icon="back" label="Back to rooms" className="only-narrow" onClick={() => go({})} />
      {summary ? <RoomAvatar room={summary} /> : <span className="avatar avatar-medium skeleton" />}
      <div className="room-header-text two-lines">
        <h1>
          {summary ? (
            roomTitle(summary)
          ) : (
            <span className="skeleton skeleton-text" style={{ width: "40%" }} />
          )}
        </h1>
        <p>
          {summary ? summary.kind === "direct" ? <PeerLine room={summary} /> : groupLine(summary) : "\u00a0"}
        </p>
      </div>
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
