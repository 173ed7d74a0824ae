import type { LogEvent } from "../protocol/frames.js";
import type { MyRoomObject } from "../protocol/objects.js";
import type { RoomSummary } from "../types.js";
import { fold, isChange } from "./fold.js";
import { toMessage } from "./message.js";

/** Events kept, so that what HTTP told a moment ago can be brought up to now. */
const RECENT = 100;
/** Unread messages are counted up to here. */
const MOST = 100;

/** A room in the list: what HTTP told, and the events since. */
export class Summary {
  value: RoomSummary | undefined;
  #seq = 0;
  #recent: LogEvent[] = [];
  /** Seqs of others' messages that came since it was read. */
  #others: number[] = [];
  /** Unread when it was read, and whether there may be more. */
  #unread = 0;
  #capped = false;
  /** How many are unread is not known: the mark is further on than what was read of it. */
  unsure = false;
  readonly #me: () => string | undefined;

  constructor(me: () => string | undefined) {
    this.#me = me;
  }

  /** Takes what HTTP told. False when events since then are not held any more: read it again. */
  read(object: MyRoomObject): boolean {
    const { head } = object;
    const whole = this.#recent.length < RECENT || (this.#recent[0]?.seq ?? 0) <= head.seq + 1;
    const before = this.value;
    const me = this.#me();
    const { created_by } = object;
    const creator = created_by && created_by !== me ? { user: created_by } : undefined;
    this.#seq = head.seq;
    this.#others = [];
    this.#unread = object.unread ?? 0;
    this.#capped = object.unread_capped === true;
    this.value = toSummary(object, me, object.kind === "direct" ? (before?.peer ?? creator) : undefined);
    for (const event of this.#recent) if (event.seq > head.seq) this.#fold(event);
    this.unsure = false;
    this.readTo(before?.readSeq ?? 0);
    return whole;
  }

  /** Knows a little of a room that could not be read yet. */
  hint(object: Partial<MyRoomObject>): void {
    this.value ??= toSummary(object, undefined);
  }

  peer(peer: { user: string; name?: string }): void {
    if (this.value) this.value = { ...this.value, peer };
  }

  apply(event: LogEvent): void {
    this.#recent.push(event);
    if (this.#recent.length > RECENT) this.#recent.shift();
    if (event.seq > this.#seq) this.#fold(event);
  }

  /** What was told above here may be another one now. */
  dropAbove(seq: number): void {
    this.#recent = this.#recent.filter((event) => event.seq <= seq);
  }

  /** All up to `seq` is read. It may take more than is known to tell how many are left: then it is `unsure`. */
  readTo(seq: number): void {
    const value = this.value;
    if (!value || seq <= value.readSeq) return;
    const left = this.#others.filter((other) => other > seq);
    const last = Math.max(value.lastMessage?.seq ?? 0, this.#others.at(-1) ?? 0);
    const sure = seq >= last || this.#unread === 0 || left.length < this.#others.length;
    if (sure) {
      this.#unread = 0;
      this.#capped = false;
    } else this.unsure = true;
    this.#others = left;
    this.value = { ...value, readSeq: seq, ...this.#count() };
  }

  #count(): { unread: number; unreadCapped: boolean } {
    const count = this.#unread + this.#others.length;
    return { unread: Math.min(count, MOST), unreadCapped: this.#capped || count > MOST };
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
        if (!lastMessage.mine && event.seq > value.readSeq) this.#others.push(event.seq);
        // More than are counted need not be held.
        if (this.#others.length > 2 * MOST) this.#others.shift();
        this.value = { ...value, lastMessage, updatedAt, ...this.#count() };
        return;
      }
      case "message:void":
        this.#others = this.#others.filter((seq) => seq !== event.target);
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

/** What the list shows of a room, made of what is known of it. */
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
