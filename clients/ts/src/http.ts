/** Rooms, members and messages over HTTP. */
import type { TidingsClient } from "./client.js";
import { TidingsError } from "./errors.js";
import { queryString } from "./net/http.js";
import { filterShape, SHAPES } from "./protocol/check.js";
import type { MessageObject, RoomObject, SearchPage } from "./protocol/objects.js";
import { toMessage } from "./room/message.js";
import type { Message, NewRoom } from "./types.js";

const roomPath = (room: string) => `/rooms/${encodeURIComponent(room)}`;
const memberPath = (room: string, user: string) => `${roomPath(room)}/members/${encodeURIComponent(user)}`;

function myself(client: TidingsClient): string {
  const me = client.me.get();
  if (!me) throw new TidingsError("disconnected", "the user is not known before the first connection");
  return me.id;
}

/** Finds messages that contain all words of `q`, newest first. Rejects with TidingsError. */
export function search(
  client: TidingsClient,
  q: string,
  options: { room?: string; cursor?: string; limit?: number } = {},
): Promise<SearchPage> {
  return client.http("GET", `/search${queryString({ q, ...options })}`);
}

/** Creates a room. If the direct room of two users exists already, returns it unchanged. Rejects with TidingsError. */
export function createRoom(client: TidingsClient, room: NewRoom): Promise<RoomObject> {
  return client.http("POST", "/rooms", room);
}

/** Lists public rooms, newest activity first. Rejects with TidingsError. */
export function publicRooms(
  client: TidingsClient,
  options: { query?: string; cursor?: string; limit?: number } = {},
): Promise<{ rooms: RoomObject[]; next: string | null }> {
  return client.http("GET", `/rooms${queryString(options)}`);
}

/** Adds the current user to a public room. Rejects with TidingsError. */
export async function joinRoom(client: TidingsClient, room: string): Promise<void> {
  await client.http("PUT", memberPath(room, myself(client)));
}

/** Removes the current user from a room. Rejects with TidingsError. */
export async function leaveRoom(client: TidingsClient, room: string): Promise<void> {
  await removeMember(client, room, myself(client));
}

/** Changes the given fields of a room; a `name` of "" removes the name. Rejects with TidingsError. */
export async function updateRoom(
  client: TidingsClient,
  room: string,
  change: { name?: string; metadata?: object; archived?: boolean },
): Promise<void> {
  await client.http("PATCH", roomPath(room), change);
}

/** Adds a user to a room, or changes the role of a member. Rejects with TidingsError. */
export async function setMember(
  client: TidingsClient,
  room: string,
  user: string,
  role?: string,
): Promise<void> {
  await client.http("PUT", memberPath(room, user), role === undefined ? {} : { role });
}

/** Removes a user from a room. Rejects with TidingsError. */
export async function removeMember(client: TidingsClient, room: string, user: string): Promise<void> {
  await client.http("DELETE", memberPath(room, user));
}

/** Reads up to `limit` messages around `seq`. The room does not show or keep them. Rejects with TidingsError. */
export async function messagesAround(
  client: TidingsClient,
  room: string,
  seq: number,
  limit = 50,
): Promise<Message[]> {
  const page = await client.http<{ messages?: unknown }>(
    "GET",
    `${roomPath(room)}/messages${queryString({ around: seq, limit })}`,
  );
  const me = client.me.get()?.id;
  return filterShape<MessageObject>(page?.messages, SHAPES.message).map((object) => toMessage(object, me));
}

/** Reads the earlier versions of a message, oldest first, for admins and owners. Rejects with TidingsError. */
export async function messageVersions(
  client: TidingsClient,
  room: string,
  seq: number,
): Promise<{ content: string; at: string; by: string }[]> {
  const answer = await client.http<{ versions?: unknown }>(
    "GET",
    `${roomPath(room)}/messages/${seq}/versions`,
  );
  return filterShape(answer?.versions, "content at by");
}
