import type { RoomSummary } from "@tidings/client";
import { usePresence } from "@tidings/react";
import { roomTitle } from "../logic/title.ts";
import { Avatar } from "./Avatar.tsx";

/** The avatar of a room. A direct room has the other user's avatar with a presence dot, other rooms have an icon. */
export function RoomAvatar({ room }: { room: RoomSummary }) {
  if (room.kind === "direct" && room.peer) return <PeerAvatar user={room.peer.user} name={roomTitle(room)} />;
  return <Avatar id={room.id} name={roomTitle(room)} icon={room.kind === "public" ? "hash" : "people"} />;
}

function PeerAvatar({ user, name }: { user: string; name: string }) {
  const presence = usePresence(user);
  return <Avatar id={user} name={name} status={presence?.status} />;
}
