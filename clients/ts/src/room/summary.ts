import type { LogEvent } from "../protocol/frames.js";
import type { MyRoomObject } from "../protocol/objects.js";
import type { RoomSummary } from "../types.js";
import { fold, isChange } from "./fold.js";
import { toMessage } from "./message.js";

/** The number of recent events that are kept. The kit applies them to HTTP answers that are older. */
const MAX_RECENT_EVENTS = 100;
/** The highest unread count that the kit reports. */
const MAX_UNREAD = 100;

/** The list entry of a room: the last HTTP answer with later events applied. */
export class Summary {
  value: RoomSummary | undefined;
  #seq = 0;
  #recent: LogEvent[] = [];
  /** The seqs of unread messages of others that came as events after the last HTTP answer. */
  #unreadSeqs: number[] = [];
  /** The unread count of the last HTTP answer, and whether the true number may be higher. */
  #unread = 0;
  #capped = false;
  /**
   * Whether the unread count is unknown: the read mark moved past some of the `#unread`
   * messages, whose seqs are not known.
   */
  stale = false;
  readonly #me: () => string | undefined;

  constructor(me: () => string | undefined) {
    this.#me = me;
  }

  /**
   * Applies an HTTP answer. Returns false if events between the answer and the oldest kept event are missing, so that
   * the room must be read again.
   */
  applyAnswer(object: MyRoomObject): boolean {
    const { head } = object;
    const complete = this.#recent.length < MAX_RECENT_EVENTS || (this.#recent[0]?.seq ?? 0) <= head.seq + 1;
    const before = this.value;
    const me = this.#me();
    const { created_by } = object;
    const creator = created_by && created_by !== me ? { user: created_by } : undefined;
    this.#seq = head.seq;
    this.#unreadSeqs = [];
    this.#unread = object.unread ?? 0;
    this.#capped = object.unread_capped === true;
    this.value = toSummary(object, me, object.kind === "direct" ? (before?.peer ?? creator) : undefined);
    for (const event of this.#recent) if (event.seq > head.seq) this.#fold(event);
    this.stale = false;
    this.readTo(before?.readSeq ?? 0);
    return complete;
  }

  /** Sets the known fields of a room that has not been read yet. */
  setKnownFields(object: Partial<MyRoomObject>): void {
    this.value ??= toSummary(object, undefined);
  }

  setPeer(peer: { user: string; name?: string }): void {
    if (this.value) this.value = { ...this.value, peer };
  }

  apply(event: LogEvent): void {
    this.#recent.push(event);
    if (this.#recent.length > MAX_RECENT_EVENTS) this.#recent.shift();
    if (event.seq > this.#seq) this.#fold(event);
  }

  /** Drops kept events above `seq`, because a new epoch began and the log may not contain them. */
  dropAbove(seq: number): void {
    this.#recent = this.#recent.filter((event) => event.seq <= seq);
  }

  /** Marks all messages up to `seq` as read. Sets `stale` when the number of messages that remain unread is unknown. */
  readTo(seq: number): void {
    const value = this.value;
    if (!value || seq <= value.readSeq) return;
    const remaining = this.#unreadSeqs.filter((other) => other > seq);
    const last = Math.max(value.lastMessage?.seq ?? 0, this.#unreadSeqs.at(-1) ?? 0);
    const countKnown = seq >= last || this.#unread === 0 || remaining.length < this.#unreadSeqs.length;
    if (countKnown) {
      this.#unread = 0;
      this.#capped = false;
    } else this.stale = true;
    this.#unreadSeqs = remaining;
    this.value = { ...value, readSeq: seq, ...this.#count() };
  }

  #count(): { unread: number; unreadCapped: boolean } {
    const count = this.#unread + this.#unreadSeqs.length;
    return { unread: Math.min(count, MAX_UNREAD), unreadCapped: this.#capped || count > MAX_UNREAD };
  }

  #fold(event: LogEvent): void {
    this.#seq = event.seq;
    const value = this.value;
    if (!value) return;
    const me = this.#me();
    const updatedAt = Math.max(value.updatedAt, Date.parse(event.at) || 0);
    if (isChange(event)) {
      const last = value.lastMessage;
      const lastMessage = last && event.target === last.seq ? (fold(last, event, me) ?? last) : last;
      if (lastMessage && lastMessage !== last) this.value = { ...value, lastMessage };
      return;
    }
    switch (event.type) {
      case "message:new": {
        const lastMessage = toMessage(event, me);
        if (!lastMessage.mine && event.seq > value.readSeq) this.#unreadSeqs.push(event.seq);
        // The count stops at `MAX_UNREAD`, so more seqs are not needed.
        if (this.#unreadSeqs.length > 2 * MAX_UNREAD) this.#unreadSeqs.shift();
        this.value = { ...value, lastMessage, updatedAt, ...this.#count() };
        return;
      }
      case "message:void":
        this.#unreadSeqs = this.#unreadSeqs.filter((seq) => seq !== event.target);
        this.value = { ...value, ...this.#count() };
        return;
      case "room:updated":
        this.value = {
          ...value,
          updatedAt,
          ...(event.name != null && { name: event.name || null }),
          ...(event.metadata && { metadata: event.metadata }),
          ...(event.archived != null && { archived: event.archived }),
        };
        return;
      case "member:added":
        this.value = { ...value, members: value.members + 1 };
        return;
      case "member:removed":
        this.value = { ...value, members: Math.max(0, value.members - 1) };
        return;
      case "member:changed":
        if (event.user === me) this.value = { ...value, role: event.role };
    }
  }
}

/** Makes the list entry from the known fields of a room. */
function toSummary(
  object: Partial<MyRoomObject>,
  me: string | undefined,
  peer?: RoomSummary["peer"],
): RoomSummary {
  const { room, kind, name, role, members, archived, metadata, unread, last_message } = object;
  return {
    id: room ?? "",
    kind: kind ?? "private",
    name: name || null,
    role: role ?? "member",
    members: members ?? 0,
    archived: archived === true,
    metadata: metadata ?? null,
    unread: unread ?? 0,
    unreadCapped: object.unread_capped === true,
    readSeq: object.read_seq ?? 0,
    updatedAt: Date.parse(object.updated_at ?? "") || 0,
    ...(last_message && { lastMessage: toMessage(last_message, me) }),
    ...(peer && { peer }),
  };
}
