import type { TidingsClientLike } from "@tidings/client";
import { createRoom, joinRoom, publicRooms } from "@tidings/client/http";

const LOBBY_NAME = "Lobby";

/**
 * Joins the oldest public room with the name "Lobby", or creates it when it does not exist.
 * @returns the id of the room
 * @throws TidingsError when a request fails
 */
export async function joinOrCreateLobby(client: TidingsClientLike): Promise<string> {
  const { rooms } = await publicRooms(client, { query: LOBBY_NAME, limit: 200 });
  const lobbies = rooms.filter((room) => room.name === LOBBY_NAME && !room.archived);
  const oldest = lobbies.sort((a, b) => a.createdAt - b.createdAt)[0];
  if (oldest === undefined) return (await createRoom(client, { kind: "public", name: LOBBY_NAME })).id;
  await joinRoom(client, oldest.id);
  return oldest.id;
}
