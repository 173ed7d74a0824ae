import type { TidingsClient } from "@tidings/client";
import { createRoom, joinRoom, publicRooms } from "@tidings/client/http";

const LOBBY_NAME = "Lobby";

/**
 * Joins the oldest public room with the name "Lobby", or creates it when it does not exist.
 * @returns the id of the room
 * @throws TidingsError when a request fails
 */
export async function joinOrCreateLobby(client: TidingsClient): Promise<string> {
  const { rooms } = await publicRooms(client, { query: LOBBY_NAME, limit: 200 });
  const lobbies = rooms.filter((room) => room.name === LOBBY_NAME && !room.archived);
  const oldest = lobbies.sort((a, b) => a.created_at.localeCompare(b.created_at))[0];
  if (oldest === undefined) return (await createRoom(client, { kind: "public", name: LOBBY_NAME })).room;
  await joinRoom(client, oldest.room);
  return oldest.room;
}
