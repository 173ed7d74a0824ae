import { jsonByteLength } from "../net/frame-size.js";
import { hasShape } from "../protocol/check.js";
import type { SystemEvent } from "../protocol/frames.js";
import type { Cursor, MessageObject, MyRoomObject } from "../protocol/objects.js";
import type { Me, Member, Message, RoomSummary } from "../types.js";

/** The version of the stored form. Records of other versions are dropped. */
const VERSION = 1;
const ROOM_SHAPE = "v:n user summary:o seq:n sentRead:n page?:o members?:a";
const SUMMARY_SHAPE =
  "id kind role members:n archived:b slowModeS?:n unread:n unreadCapped:b unreadMentions:n notify readSeq:n updatedAt:n lastMessage?:o peer?:o";
const MESSAGE_SHAPE =
  "clientId room id seq:n sender:u kind content at:n deleted:b attachments:a reactions:a mentions?:a lastSeq:n";

/** The newest messages of a room, without a gap. They contain all events of the log up to `cursor`. */
export interface CachedPage {
  readonly cursor: Cursor;
  readonly items: readonly Message[];
  readonly hasOlder: boolean;
  /** Absent in records of earlier versions. */
  readonly systemEvents?: readonly SystemEvent[];
}

/** What the storage keeps of one room. */
export interface RoomRecord {
  /** The id of the user to whom the record belongs. */
  readonly user: string;
  readonly summary: RoomSummary;
  /** The seq up to which `summary` contains the events of the log. */
  readonly seq: number;
  /** The read mark that the server has. `summary.readSeq` is higher if the user has read without a connection. */
  readonly sentRead: number;
  /** Absent if the room was never opened. */
  readonly page?: CachedPage | undefined;
  readonly members?: readonly Member[] | undefined;
}

/** Encodes a record in at most `maxBytes`: drops the members, then older messages. Returns undefined if that fails. */
export function encodeRoom(
  record: RoomRecord,
  maxBytes: number,
): { text: string; bytes: number } | undefined {
  for (let rest: RoomRecord | undefined = record; rest; rest = smaller(rest)) {
    const stored = { v: VERSION, ...rest };
    const bytes = jsonByteLength(stored);
    if (bytes <= maxBytes) return { text: JSON.stringify(stored), bytes };
  }
  return undefined;
}

function smaller({ members, page, ...rest }: RoomRecord): RoomRecord | undefined {
  if (members) return { ...rest, page };
  if (!page) return undefined;
  const items = page.items.slice(Math.ceil(page.items.length / 2));
  return { ...rest, page: items.length ? { ...page, items, hasOlder: true } : undefined };
}

/** Decodes a record. Returns undefined for a damaged text or another version. */
export function decodeRoom(text: string | null): RoomRecord | undefined {
  const stored = parse(text);
  if (!hasShape(stored, ROOM_SHAPE)) return undefined;
  const record = stored as RoomRecord;
  const { summary, page, members } = record;
  const { lastMessage, peer } = summary;
  const isValid =
    hasShape(summary, SUMMARY_SHAPE) &&
    (!lastMessage || isMessage(lastMessage)) &&
    (!peer || hasShape(peer, "user")) &&
    (!page || (hasShape(page, "cursor:c items:a hasOlder:b") && page.items.every(isMessage))) &&
    (!members || members.every((member) => hasShape(member, "user role")));
  return isValid ? record : undefined;
}

/** Encodes the user of the cache. */
export const encodeUser = (me: Me): string => JSON.stringify({ v: VERSION, me });

/** Decodes the user of the cache. Returns undefined for a damaged text or another version. */
export function decodeUser(text: string | null): Me | undefined {
  const stored = parse(text);
  if (!hasShape(stored, "v:n me:o")) return undefined;
  const { me } = stored as { me: Me };
  return hasShape(me, "id limits:o") ? me : undefined;
}

/** Parses JSON of the present version. Returns undefined for any other text. */
function parse(text: string | null): unknown {
  try {
    const stored: { v?: unknown } | null = JSON.parse(text ?? "");
    return stored?.v === VERSION ? stored : undefined;
  } catch {
    return undefined;
  }
}

function isMessage(message: unknown): message is Message {
  return hasShape(message, MESSAGE_SHAPE) && isTime((message as Message).at);
}

/** Whether `Date` can represent the time. */
const isTime = (at: number) => Math.abs(at) <= 8.64e15;

const toIsoTime = (at: number) => new Date(isTime(at) ? at : 0).toISOString();

/** Makes the object of the wire from which the kit makes this message again. */
export function toMessageObject(message: Message): MessageObject {
  const { id = "", seq = 0, room, clientId, sender, kind, content, metadata, lastSeq, editedAt } = message;
  return {
    id,
    seq,
    room,
    client_id: clientId,
    sender,
    kind,
    content,
    reply_to: message.replyTo ?? null,
    attachments: message.attachments.map(({ mediaType, ...rest }) => ({ ...rest, media_type: mediaType })),
    metadata: metadata ?? null,
    visible_to: message.visibleTo ?? null,
    mentions: message.mentions ?? null,
    at: toIsoTime(message.at),
    edited_at: editedAt === undefined ? null : toIsoTime(editedAt),
    deleted: message.deleted,
    deleted_by: message.deletedBy ?? null,
    last_seq: lastSeq,
    reactions: message.reactions.map((reaction) => ({ ...reaction, users: [...reaction.users] })),
  };
}

/** Makes the answer of the server from which the kit makes this list entry again. */
export function toRoomObject({ summary, seq, page }: RoomRecord): MyRoomObject {
  const { id, kind, name, role, members, archived, metadata, unread, readSeq, lastMessage, updatedAt } =
    summary;
  return {
    room: id,
    kind,
    name,
    role,
    members,
    archived,
    slow_mode_s: summary.slowModeS,
    metadata,
    unread,
    unread_capped: summary.unreadCapped,
    unread_mentions: summary.unreadMentions,
    notify: summary.notify,
    read_seq: readSeq,
    last_message: lastMessage ? toMessageObject(lastMessage) : null,
    updated_at: toIsoTime(updatedAt),
    created_at: toIsoTime(0),
    created_by: "",
    head: { epoch: page?.cursor.epoch ?? "", seq },
  };
}
