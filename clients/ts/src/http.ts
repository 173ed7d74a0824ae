/** Rooms, members and messages over HTTP. */
import { TidingsError } from "./errors.js";
import { type HttpOptions, queryString } from "./net/http.js";
import { omitNullish } from "./omit-nullish.js";
import { asFrame, assertShape, filterShape, hasShape, SHAPES } from "./protocol/check.js";
import type { LogEvent } from "./protocol/frames.js";
import type {
  MessageObject,
  NotifyLevel,
  PersonObject,
  RoomObject,
  SearchPageObject,
} from "./protocol/objects.js";
import { toMessage } from "./room/message.js";
import type {
  Message,
  MessageVersion,
  NewRoom,
  Person,
  RoomInfo,
  SearchPage,
  TidingsClientLike,
} from "./types.js";

const roomPath = (room: string) => `/rooms/${encodeURIComponent(room)}`;
const memberPath = (room: string, user: string) => `${roomPath(room)}/members/${encodeURIComponent(user)}`;

function myId(client: TidingsClientLike): string {
  const me = client.me.get();
  if (!me) throw new TidingsError("disconnected", "the user is not known before the first connection");
  return me.id;
}

function toRoomInfo(object: RoomObject): RoomInfo {
  const { room: id, kind, name, role, members, archived, metadata, created_by: createdBy } = object;
  return {
    ...omitNullish({ id, kind, role, members, archived: archived === true, createdBy }),
    name: name || null,
    metadata: metadata ?? null,
    createdAt: Date.parse(object.created_at) || 0,
    updatedAt: Date.parse(object.updated_at) || 0,
  } as RoomInfo;
}

/** Finds messages that contain all words of `q`, newest first. Rejects with TidingsError. */
export async function search(
  client: TidingsClientLike,
  q: string,
  { signal, ...options }: { room?: string; cursor?: string; limit?: number } & HttpOptions = {},
): Promise<SearchPage> {
  const path = `/search${queryString({ q, ...options })}`;
  const page = assertShape(
    await client.http<SearchPageObject>("GET", path, undefined, { signal }),
    "results:a",
  );
  const me = client.me.get()?.id;
  const results = page.results
    .filter(({ message, snippet }) => hasShape(message, SHAPES.message) && Array.isArray(snippet))
    .map(({ message, snippet }) => ({ message: toMessage(message, me), snippet }));
  return { results, next: page.next ?? null };
}

/**
 * Finds people who share a room with the current user, by the beginnings of words of their names or ids; at most 20. With
 * `room` only members of that room, as for a mention. Rejects with TidingsError.
 */
export async function people(
  client: TidingsClientLike,
  query: string,
  { signal, ...options }: { room?: string } & HttpOptions = {},
): Promise<Person[]> {
  const path = `/me/people${queryString({ query, ...options })}`;
  const answer = await client.http<{ people?: unknown }>("GET", path, undefined, { signal });
  return filterShape<PersonObject>(answer?.people, "user").map(({ user, name, picture }) =>
    omitNullish({ user, name, picture }),
  );
}

/**
 * Sets for which messages of a room the current user wants notifications. The list of rooms follows, on all devices of
 * the user. Rejects with TidingsError.
 */
export async function setNotify(
  client: TidingsClientLike,
  room: string,
  notify: NotifyLevel,
  options?: HttpOptions,
): Promise<void> {
  await client.http("PATCH", `${roomPath(room)}/me`, { notify }, options);
}

/** Creates a room. If the direct room of two users exists already, returns it unchanged. Rejects with TidingsError. */
export async function createRoom(
  client: TidingsClientLike,
  room: NewRoom,
  options?: HttpOptions,
): Promise<RoomInfo> {
  const object = await client.http<RoomObject>("POST", "/rooms", room, options);
  return toRoomInfo(assertShape(object, SHAPES.room));
}

/** Lists public rooms, newest activity first. Rejects with TidingsError. */
export async function publicRooms(
  client: TidingsClientLike,
  { signal, ...options }: { query?: string; cursor?: string; limit?: number } & HttpOptions = {},
): Promise<{ rooms: RoomInfo[]; next: string | null }> {
  const path = `/rooms${queryString(options)}`;
  const page = await client.http<{ rooms?: unknown; next?: string | null }>("GET", path, undefined, {
    signal,
  });
  const rooms = filterShape<RoomObject>(page?.rooms, SHAPES.room).map(toRoomInfo);
  return { rooms, next: page?.next ?? null };
}

/** Adds the current user to a public room. Rejects with TidingsError. */
export async function joinRoom(
  client: TidingsClientLike,
  room: string,
  options?: HttpOptions,
): Promise<void> {
  await client.http("PUT", memberPath(room, myId(client)), undefined, options);
}

/** Removes the current user from a room. Rejects with TidingsError. */
export async function leaveRoom(
  client: TidingsClientLike,
  room: string,
  options?: HttpOptions,
): Promise<void> {
  await removeMember(client, room, myId(client), options);
}

/**
 * Changes the given fields of a room; a `name` of "" removes the name. `slowModeS` is the least time in seconds between two
 * messages of a member; 0 switches slow mode off. Rejects with TidingsError.
 */
export async function updateRoom(
  client: TidingsClientLike,
  room: string,
  change: { name?: string; metadata?: object; archived?: boolean; slowModeS?: number },
  options?: HttpOptions,
): Promise<void> {
  const { slowModeS, ...same } = change;
  await client.http("PATCH", roomPath(room), { ...same, slow_mode_s: slowModeS }, options);
}

/** Adds a user to a room, or changes the role of a member. Rejects with TidingsError. */
export async function setMember(
  client: TidingsClientLike,
  room: string,
  user: string,
  role?: string,
  options?: HttpOptions,
): Promise<void> {
  await client.http("PUT", memberPath(room, user), role === undefined ? {} : { role }, options);
}

/** Removes a user from a room. Rejects with TidingsError. */
export async function removeMember(
  client: TidingsClientLike,
  room: string,
  user: string,
  options?: HttpOptions,
): Promise<void> {
  await client.http("DELETE", memberPath(room, user), undefined, options);
}

/** Reads up to `limit` messages around `seq`. The room does not show or keep them. Rejects with TidingsError. */
export async function messagesAround(
  client: TidingsClientLike,
  room: string,
  seq: number,
  limit = 50,
  options?: HttpOptions,
): Promise<Message[]> {
  const path = `${roomPath(room)}/messages${queryString({ around: seq, limit })}`;
  const page = await client.http<{ messages?: unknown }>("GET", path, undefined, options);
  const me = client.me.get()?.id;
  return filterShape<MessageObject>(page?.messages, SHAPES.message).map((object) => toMessage(object, me));
}

/**
 * Reads a page of a room's log: the events above the seq `after`, from at most 200 positions. The page is complete up to
 * the seq `next`, and `more` tells whether the log continues. Rejects with TidingsError.
 */
export async function roomEvents(
  client: TidingsClientLike,
  room: string,
  after: number,
  options?: HttpOptions,
): Promise<{ events: LogEvent[]; next: number; more: boolean }> {
  const path = `${roomPath(room)}/events${queryString({ after, limit: 200 })}`;
  const page = assertShape(
    await client.http<{ events: unknown[]; next: { seq: number }; more: boolean }>(
      "GET",
      path,
      undefined,
      options,
    ),
    "events:a next:c more:b",
  );
  const events = page.events.map(asFrame).filter((event) => event && "seq" in event) as LogEvent[];
  return { events, next: page.next.seq, more: page.more };
}

/** Reads the earlier versions of a message, oldest first, for admins and owners. Rejects with TidingsError. */
export async function messageVersions(
  client: TidingsClientLike,
  room: string,
  seq: number,
  options?: HttpOptions,
): Promise<MessageVersion[]> {
  const path = `${roomPath(room)}/messages/${seq}/versions`;
  const answer = await client.http<{ versions?: unknown }>("GET", path, undefined, options);
  return filterShape<{ content: string; at: string; by: string }>(answer?.versions, "content at by").map(
    ({ content, at, by }) => ({ content, at: Date.parse(at) || 0, by }),
  );
}
