import type { RoomSummary } from "@tidings/client";
import { members } from "@tidings/client/live";
import { usePresence, useTidings } from "@tidings/react";
import { useSyncExternalStore } from "react";
import { roomTitle } from "../logic/title.js";
import { ChatAvatar } from "./ChatAvatar.js";

/** The avatar of a room. A direct room has the other user's avatar with a presence dot, other rooms have an icon. */
export function RoomAvatar({ room }: { room: RoomSummary }) {
  if (room.kind === "direct" && room.peer) return <PeerAvatar room={room} user={room.peer.user} />;
  return <ChatAvatar id={room.id} name={roomTitle(room)} icon={room.kind === "public" ? "hash" : "people"} />;
}

function PeerAvatar({ room, user }: { room: RoomSummary; user: string }) {
  const presence = usePresence(user);
  // The list of rooms has no pictures. The members are loaded once the room has been opened.
  const list = members(useTidings().room(room.id));
  const items = useSyncExternalStore(list.subscribe, list.get, () => undefined);
  const sender = room.lastMessage?.sender;
  const picture =
    items?.find((member) => member.user === user)?.picture ??
    (sender?.id === user ? sender.picture : undefined);
  return <ChatAvatar id={user} name={roomTitle(room)} picture={picture} status={presence?.status} />;
}
