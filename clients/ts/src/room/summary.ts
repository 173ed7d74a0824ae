import { omitNullish } from "../omit-nullish.js";
import type { LogEvent } from "../protocol/frames.js";
import type { MyRoomObject } from "../protocol/objects.js";
import type { RoomSummary } from "../types.js";
import { applyChange, isChange } from "./fold.js";
import { toMessage } from "./message.js";

/** The number of recent events that are kept. The kit applies them to HTTP answers that do not contain them yet. */
const MAX_RECENT_EVENTS = 100;
/** The highest unread count that the kit reports. */
const MAX_UNREAD = 100;

/** The fields of a room that are known before it is read: the others may be missing. */
type KnownFields = Pick<MyRoomObject, "room" | "kind"> & Partial<MyRoomObject>;

type UnreadCounts = Pick<RoomSummary, "unread" | "unreadCapped" | "unreadMentions">;

/** The list entry of a room: the last HTTP answer with later events applied. */
export class Summary {
  value: RoomSummary | undefined;
  /** The seq up to which `value` contains the events. */
  #seq = 0;
  #hasAnswer = false;
  #recentEvents: LogEvent[] = [];
  /**
   * The seqs of unread messages of others that came as events after the last HTTP answer, in their order. The value says
   * whether the message mentions the user.
   */
  #newUnread = new Map<number, boolean>();
  /** The unread counts of messages whose seqs are not known, as in an HTTP answer; undefined once they are read. */
  #counted: UnreadCounts | undefined;
  /**
   * The seq of the last event whose effect on `#counted` the kit does not know, or that made the last message void. 0 if
   * there is no such event. The counts are correct again after an HTTP answer that contains this event.
   */
  recountSeq = 0;
  /**
   * Whether the unread count is unknown: the read mark moved past some of the `#counted` messages, whose seqs are not
   * known.
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
    const complete =
      this.#recentEvents.length < MAX_RECENT_EVENTS || (this.#recentEvents[0]?.seq ?? 0) <= head.seq + 1;
    const before = this.value;
    const me = this.#me();
    const { created_by: user } = object;
    const creator = user && user !== me && { user };
    this.#seq = head.seq;
    this.#hasAnswer = true;
    this.#newUnread.clear();
    this.recountSeq = 0;
    this.value = toSummary(object, me, object.kind === "direct" && (before?.peer ?? creator));
    this.#counted = this.value;
    for (const event of this.#recentEvents) if (event.seq > head.seq) this.#applyToValue(event);
    this.stale = false;
    this.readTo(before?.readSeq ?? 0);
    return complete;
  }

  /** Whether the unread count includes the messages up to `seq`. */
  counts(seq: number): boolean {
    return this.#hasAnswer && seq <= this.#seq;
  }

  /** Sets the known fields of a room that has not been read yet. Rooms with `updatedAt` 0 come last in the list. */
  setKnownFields(object: KnownFields, updatedAt: number): void {
    this.value ??= { ...toSummary(object, undefined), updatedAt };
  }

  setPeer(peer: { user: string; name?: string }): void {
    if (this.value) this.value = { ...this.value, peer };
  }

  apply(event: LogEvent): void {
    this.#recentEvents.push(event);
    if (this.#recentEvents.length > MAX_RECENT_EVENTS) this.#recentEvents.shift();
    if (event.seq > this.#seq) this.#applyToValue(event);
  }

  /** Drops kept events above `seq`, because a new epoch began and the log may not contain them. */
  dropAbove(seq: number): void {
    this.#recentEvents = this.#recentEvents.filter((event) => event.seq <= seq);
    this.recountSeq = Math.min(this.recountSeq, seq);
  }

  /** Marks all messages up to `seq` as read. Sets `stale` when the number of messages that remain unread is unknown. */
  readTo(seq: number): void {
    const value = this.value;
    if (!value || seq <= value.readSeq) return;
    const { size } = this.#newUnread;
    for (const other of this.#newUnread.keys()) if (other <= seq) this.#newUnread.delete(other);
    // The last message is at or above all seqs of `#newUnread`. An answer may lack it, if it is far below the head.
    const countKnown =
      this.#newUnread.size < size || seq >= (value.lastMessage?.seq ?? this.#seq) || !this.#counted?.unread;
    if (countKnown) this.#counted = undefined;
    else this.stale = true;
    this.value = { ...value, readSeq: seq, ...this.#count() };
  }

  #count(): UnreadCounts {
    const { unread = 0, unreadCapped, unreadMentions = 0 } = this.#counted ?? {};
    const count = unread + this.#newUnread.size;
    return {
      unread: Math.min(count, MAX_UNREAD),
      unreadCapped: !!unreadCapped || count > MAX_UNREAD,
      unreadMentions: unreadMentions + [...this.#newUnread.values()].filter(Boolean).length,
    };
  }

  /** Applies to the counts an event that removes a message, or that edits its mentions. */
  #recount(event: LogEvent): void {
    if (!this.value || !("target" in event)) return;
    const { lastMessage, readSeq } = this.value;
    const { unread, unreadMentions } = this.#counted ?? {};
    if (event.type === "message:void" && event.message != null) {
      // The change at `target` became void. If it was counted, the message is counted again.
      const voided = this.#recentEvents.find(({ seq }) => seq === event.target);
      if (event.message > readSeq && (voided ? changesCounts(voided) : unread)) this.recountSeq = event.seq;
      return;
    }
    const { target } = event;
    if (event.type === "message:void" && target === lastMessage?.seq) this.recountSeq = event.seq;
    if (event.type !== "message:void" && !changesCounts(event)) return;
    const mentionsMe = event.type === "message:edited" && !!event.mentions?.includes(this.#me() as string);
    const isGone = event.type !== "message:edited";
    if (this.#newUnread.has(target)) {
      if (isGone) this.#newUnread.delete(target);
      else this.#newUnread.set(target, mentionsMe);
      this.value = { ...this.value, ...this.#count() };
    } else if (target > readSeq && unread && (isGone || mentionsMe || unreadMentions)) {
      this.recountSeq = event.seq;
    }
  }

  #applyToValue(event: LogEvent): void {
    this.#seq = event.seq;
    if (!this.value) return;
    this.#recount(event);
    const { value } = this;
    const me = this.#me();
    const updatedAt = Math.max(value.updatedAt, Date.parse(event.at) || 0);
    if (isChange(event)) {
      const last = value.lastMessage;
      const lastMessage = last && applyChange(last, event, me);
      if (lastMessage && lastMessage !== last) this.value = { ...value, lastMessage };
      return;
    }
    switch (event.type) {
      case "message:new": {
        const lastMessage = toMessage(event, me);
        if (!lastMessage.mine && event.seq > value.readSeq)
          this.#newUnread.set(event.seq, !!lastMessage.mentions?.includes(me as string));
        // The count stops at `MAX_UNREAD`, so more seqs are not needed.
        const [oldest] = this.#newUnread;
        if (oldest && this.#newUnread.size > 2 * MAX_UNREAD) {
          this.#newUnread.delete(oldest[0]);
          const { unread = 0, unreadCapped = false, unreadMentions = 0 } = this.#counted ?? {};
          this.#counted = {
            unread: unread + 1,
            unreadCapped,
            unreadMentions: unreadMentions + Number(oldest[1]),
          };
        }
        this.value = { ...value, lastMessage, updatedAt, ...this.#count() };
        return;
      }
      case "room:updated":
        this.value = {
          ...value,
          updatedAt,
          ...(event.name != null && { name: event.name || null }),
          ...omitNullish({
            metadata: event.metadata,
            archived: event.archived,
            slowModeS: event.slow_mode_s,
          }),
        };
        return;
      case "member:added":
      case "member:removed": {
        const members = value.members + (event.type === "member:added" ? 1 : -1);
        this.value = { ...value, members: Math.max(0, members) };
        return;
      }
      case "member:changed":
        if (event.user === me) this.value = { ...value, role: event.role };
    }
  }
}

/** Whether an event removes a message or sets its mentions. An edit without mentions keeps those of the message. */
const changesCounts = (event: LogEvent) =>
  event.type === "message:deleted" || (event.type === "message:edited" && !!event.mentions);

/** Makes the list entry from the known fields of a room. */
function toSummary(
  object: KnownFields,
  me: string | undefined,
  peer?: RoomSummary["peer"] | false | "",
): RoomSummary {
  return {
    id: object.room,
    kind: object.kind,
    name: object.name || null,
    role: object.role ?? "member",
    members: object.members ?? 0,
    archived: !!object.archived,
    slowModeS: object.slow_mode_s ?? 0,
    metadata: object.metadata ?? null,
    unread: object.unread ?? 0,
    unreadCapped: !!object.unread_capped,
    unreadMentions: object.unread_mentions ?? 0,
    notify: object.notify ?? "all",
    readSeq: object.read_seq ?? 0,
    updatedAt: Date.parse(object.updated_at as string) || 0,
    ...(object.last_message && { lastMessage: toMessage(object.last_message, me) }),
    ...(peer && { peer }),
  };
}
