import type { Core } from "../core.js";
import { MembersFeature } from "../live/members.js";
import { jsonByteLength } from "../net/frame-size.js";
import { isRemoval } from "../room/listing.js";
import type { RoomImpl } from "../room/room.js";
import type { Rooms } from "../rooms.js";
import type { Member, Message, RoomSummary } from "../types.js";
import type { Limits } from "./cache.js";
import { type CachedPage, decodeRoom, encodeRoom, type RoomRecord } from "./record.js";

/** The most members that are kept of a room. A larger list is not kept, because a part of it would mislead. */
const MAX_MEMBERS = 200;

/** The stored record of a room, and its size in bytes. */
interface Snapshot {
  readonly record: RoomRecord;
  readonly bytes: number;
}

/** What must be written: the new texts of rooms, and the ids of rooms that are not kept any more. */
export interface Changes {
  readonly texts: readonly (readonly [room: RoomImpl, text: string, isOwnPage: boolean])[];
  readonly dropped: readonly string[];
}

/** Makes the records of the rooms, within the limits, and remembers what is stored already. */
export class RoomSnapshots {
  readonly #core: Core;
  readonly #limits: Limits;
  readonly #snapshots = new Map<RoomImpl, Snapshot>();

  constructor(core: Core, limits: Limits) {
    this.#core = core;
    this.#limits = limits;
  }

  /** Remembers a record that was read from the storage. */
  add(room: RoomImpl, record: RoomRecord): void {
    this.#snapshots.set(room, { record, bytes: jsonByteLength(record) });
  }

  /**
   * Keeps the stored page and members of a room whose newest page this tab does not have, because another tab may have
   * stored newer ones. Returns the text to store; undefined if the storage has no record of this user.
   */
  merge(room: RoomImpl, text: string | null): string | undefined {
    const before = this.recordOf(room);
    const stored = decodeRoom(text);
    if (!before || stored?.user !== before.user) return undefined;
    const { page, members } = stored;
    const record = { ...before, page, members };
    this.add(room, record);
    return encodeRoom(record, this.#limits.maxRoomBytes)?.text;
  }

  recordOf(room: RoomImpl): RoomRecord | undefined {
    return this.#snapshots.get(room)?.record;
  }

  clear(): void {
    this.#snapshots.clear();
  }

  /**
   * Returns what has changed since the last call. The rooms without recent activity are dropped when a limit is
   * exceeded. Calls `onNew` for each room that was not kept before.
   */
  take(rooms: Rooms, user: string, onNew: (room: RoomImpl) => void): Changes {
    const { maxRooms, maxRoomBytes, maxBytes } = this.#limits;
    const list = rooms.list.get();
    const texts: [RoomImpl, string, boolean][] = [];
    const kept = new Set<RoomImpl>();
    let total = 0;
    for (const summary of list.items.slice(0, maxRooms)) {
      const room = rooms.room(summary.id);
      const before = this.#snapshots.get(room);
      const record = this.#recordOf(room, summary, user, before?.record);
      const isStored = before && isSame(before.record, record);
      const encoded = isStored ? undefined : encodeRoom(record, maxRoomBytes);
      const snapshot = isStored ? before : encoded && { record, bytes: encoded.bytes };
      if (!snapshot) continue;
      total += snapshot.bytes;
      if (total > maxBytes) break;
      kept.add(room);
      this.#snapshots.set(room, snapshot);
      if (encoded) texts.push([room, encoded.text, record.page !== before?.record.page]);
      if (!before) onNew(room);
    }
    const dropped: string[] = [];
    for (const room of [...this.#snapshots.keys()]) {
      // Before the list is loaded, the kit does not know yet which rooms the user has left.
      const isLost = list.loaded || list.items.length > maxRooms || (room.error && isRemoval(room.error));
      if (kept.has(room) || !isLost) continue;
      this.#snapshots.delete(room);
      dropped.push(room.id);
    }
    return { texts, dropped };
  }

  #recordOf(room: RoomImpl, summary: RoomSummary, user: string, before: RoomRecord | undefined): RoomRecord {
    const { connection } = this.#core;
    return {
      user,
      summary,
      seq: Math.max(before?.seq ?? 0, room.log.cursor?.seq ?? 0),
      sentRead: connection.up || !before ? summary.readSeq : before.sentRead,
      page: this.#pageOf(room, before?.page),
      members: membersOf(room) ?? before?.members,
    };
  }

  /** Returns the newest page of an open room. A closed room keeps its last page. */
  #pageOf(room: RoomImpl, before: CachedPage | undefined): CachedPage | undefined {
    const { timeline, log, messages } = room;
    const { cursor } = log;
    if (!room.opened || !timeline.loaded || timeline.hasNewer || !cursor) return before;
    const items: Message[] = [];
    let end = cursor;
    const { items: rows, systemEvents } = messages.get();
    for (const { seq, mine, stored } of rows) {
      // Takes the row without changes that the server has not confirmed.
      const row = seq === undefined ? undefined : timeline.find(seq);
      if (row?.seq === undefined || row.seq > cursor.seq) continue;
      if (mine && !stored) {
        // The message is accepted but may be lost, so the page ends before it.
        end = { ...cursor, seq: row.seq - 1 };
        break;
      }
      items.push(row);
    }
    const { maxMessages } = this.#limits;
    return {
      cursor: end,
      items: items.slice(-maxMessages),
      hasOlder: timeline.hasOlder || items.length > maxMessages,
      systemEvents: systemEvents.filter(({ seq }) => seq <= end.seq).slice(-maxMessages),
    };
  }
}

function membersOf(room: RoomImpl): readonly Member[] | undefined {
  const members = room.opened ? room.features.of(MembersFeature) : undefined;
  const list = members?.hasMore ? undefined : members?.get();
  return list && list.length <= MAX_MEMBERS ? list : undefined;
}

/** Whether two records have the same content. The parts of a closed room are the same objects and need no JSON. */
const isSame = (one: RoomRecord, other: RoomRecord): boolean =>
  (["user", "summary", "sentRead", "page", "members"] as const).every(
    (key) => one[key] === other[key] || JSON.stringify(one[key]) === JSON.stringify(other[key]),
  );
