import type { TidingsClient } from "@tidings/client";
import { createRoom, joinRoom, publicRooms } from "@tidings/client/http";

const LOBBY = "Lobby";

/**
 * Joins the public room "Lobby", the oldest where there are several, and makes it where there is none.
 * @returns its id
 * @throws TidingsError when that is not possible now
 */
export async function findOrMakeLobby(client: TidingsClient): Promise<string> {
  const { rooms } = await publicRooms(client, { query: LOBBY, limit: 200 });
  const lobbies = rooms.filter((room) => room.name === LOBBY && !room.archived);
  const oldest = lobbies.sort((a, b) => a.created_at.localeCompare(b.created_at))[0];
  if (oldest === undefined) return (await createRoom(client, { kind: "public", name: LOBBY })).room;
  await joinRoom(client, oldest.room);
  return oldest.room;
}
