import { asError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import { filterShape, SHAPES } from "../protocol/check.js";
import type { JoinedRoom, LogEvent } from "../protocol/frames.js";
import type { MemberObject, MyRoomObject } from "../protocol/objects.js";
import { pause, Timer } from "../timers.js";
import type { RoomImpl } from "./room.js";
import { Summary } from "./summary.js";
import { createWatermark, type Watermark } from "./watermark.js";

/** How long the kit collects moves of the read mark, and of the delivered mark, into one command, in milliseconds. */
const READ_DELAY_MS = 250;
const DELIVERED_DELAY_MS = 600;
/** The longest random delay of the delivered mark after the list of rooms was read, in milliseconds. */
const MAX_DELIVERED_SPREAD_MS = 5_000;
/**
 * The most reads of a room until its summary is recent enough, and the first pause between these reads, in
 * milliseconds. Each pause doubles.
 */
const MAX_REREADS = 8;
const FIRST_REREAD_PAUSE_MS = 500;

/**
 * How long the kit collects events that make the counts unknown before it reads the room again, in milliseconds. The
 * random time that follows grows with the members, because all of them may have to read.
 */
const RECOUNT_DELAY_MS = 1_000;
/** How often the delay doubles at most: once for each read whose answer does not contain these events yet. */
const MAX_RECOUNT_DOUBLINGS = 6;
const MAX_RECOUNT_SPREAD_MS = 60_000;
const RECOUNT_SPREAD_PER_MEMBER_MS = 5;

/** Whether an error code means that the user is not a member of the room. */
export const isRemoval = ({ code }: { readonly code: string }) =>
  code === "not_found" || code === "forbidden";

/**
 * The list entry of a room and the user's own marks, which events keep current. When events do not suffice, the kit
 * reads the room over HTTP.
 */
export class Listing {
  /** Counts the removals of the user from any room. An answer that was requested before a removal is out of date. */
  static removals = 0;
  summary!: Summary;
  readonly #room: RoomImpl;
  readonly #readMark: Watermark;
  readonly #deliveredMark: Watermark;
  readonly #recountTimer: Timer;
  /** The reads in a row after which the counts were still unknown. */
  #recounts = 0;
  #removedAt = 0;
  /** Whether the members of the direct room are being read or have been read. */
  #peerRequested = false;
  #refreshing: number | undefined;
  /** Whether the running read may return an answer that is too old. */
  #stale = false;
  /** Changes when another user connects. The kit ignores answers that were requested before the change. */
  #userGeneration = 0;

  constructor(room: RoomImpl) {
    const { core, id } = room;
    this.#room = room;
    this.#recountTimer = new Timer(core.env.timers);
    this.#readMark = createWatermark(core, "message:read", id, READ_DELAY_MS, () => this.#readConfirmed());
    this.#deliveredMark = createWatermark(core, "message:delivered", id, DELIVERED_DELAY_MS, () => {});
    this.reset();
  }

  /** Resets the marks and the summary, because they belong to one membership. */
  reset(): void {
    this.#readMark.reset();
    this.#deliveredMark.reset();
    this.#resetSummary();
  }

  /** Drops the state of the earlier user, because another user has connected. */
  userChanged(): void {
    this.#userGeneration++;
    this.#refreshing = undefined;
    this.reset();
  }

  /** Sends pending marks, because the client has connected. */
  up(): void {
    this.#readMark.up();
    this.#deliveredMark.up();
    this.#scheduleRecount();
  }

  down(): void {
    this.#readMark.stop();
    this.#deliveredMark.stop();
    this.#recountTimer.clear();
  }

  /** Applies an event of the log. */
  apply(event: LogEvent): void {
    this.summary.apply(event);
    this.#scheduleRecount();
  }

  /** Drops the marks, because the user was removed from the room. */
  removed(): void {
    this.#removedAt = ++Listing.removals;
    this.#readMark.reset();
    this.#deliveredMark.reset();
  }

  /** Marks all messages up to `seq` as read. */
  markRead(seq: number): void {
    this.#readMark.move(seq);
    this.#readTo(seq);
  }

  /** Moves the delivered mark, because this device has received the message at `seq`. */
  delivered(seq: number): void {
    this.#deliveredMark.move(seq);
  }

  /** Applies a mark of the current user that the server has stored, perhaps for another device of the user. */
  applyMark(type: string, seq: number): void {
    if (type === "receipt:read") {
      this.#readMark.confirm(seq);
      this.#readTo(seq);
      this.#readConfirmed();
    } else this.#deliveredMark.confirm(seq);
  }

  /** Applies the answer to a join, or the fields of `room:added`, which arrived at `updatedAt`. */
  joined(room: Partial<JoinedRoom>, updatedAt = 0): void {
    const { kind, read_seq } = room;
    if (kind) this.summary.setKnownFields(room as MyRoomObject, updatedAt);
    if (read_seq !== undefined) this.applyMark("receipt:read", read_seq);
  }

  /**
   * Applies a room that was read over HTTP. Returns false for an answer that was requested before the user was removed.
   * @param removalsBefore the value of `removals` before the request
   */
  applyRoom(object: MyRoomObject, removalsBefore: number): boolean {
    const room = this.#room;
    const earlierError = room.error;
    if (earlierError && isRemoval(earlierError)) {
      if (removalsBefore < this.#removedAt) return false;
      this.#resetSummary();
    }
    room.error = undefined;
    const complete = this.summary.applyAnswer(object);
    // If the server has confirmed a higher read mark than the answer contains, the answer's unread count is wrong.
    if (!complete || (this.summary.stale && object.read_seq < this.#readMark.stored())) this.#rereadUnread();
    this.#readMark.confirm(object.read_seq);
    // The answer contains the last message, so the message is now delivered. The random delay prevents a burst of marks
    // from many rooms.
    const { unread, lastMessage } = this.summary.value ?? {};
    if (unread && lastMessage)
      this.#deliveredMark.move(lastMessage.seq ?? 0, room.core.env.random() * MAX_DELIVERED_SPREAD_MS);
    this.findPeer();
    // The answer may be too old, and kept events that were applied to it may have made its counts unknown.
    this.#scheduleRecount();
    room.update();
    if (earlierError && room.opened && room.core.connection.up) room.log.follow();
    return true;
  }

  /** Reads the room again until its head (last seq) is at least `upto`, at most `MAX_REREADS` times. */
  async refresh(upto: number): Promise<void> {
    const room = this.#room;
    const running = this.#refreshing;
    this.#refreshing = Math.max(running ?? 0, upto);
    if (running !== undefined) return;
    const { env } = room.core;
    const userGeneration = this.#userGeneration;
    const alive = () => userGeneration === this.#userGeneration;
    try {
      for (let tries = 0; tries < MAX_REREADS && alive(); tries++) {
        const wanted: number = this.#refreshing ?? 0;
        this.#stale = false;
        const { removals } = Listing;
        const object = await room.retryRead<MyRoomObject>(alive, SHAPES.room, () => "");
        if (!object) return;
        if (object.role !== null) {
          if (!this.applyRoom(object, removals)) break;
          room.log.cursor ??= object.head;
          if (object.head.seq >= wanted && wanted === this.#refreshing && !this.#stale) break;
        }
        await pause(env.timers, FIRST_REREAD_PAUSE_MS * 2 ** tries).done;
      }
    } catch (thrown) {
      const error = asError(thrown);
      if (!alive()) return;
      if (error.code === "not_found" && !room.log.joined) room.failed(error);
      else if (!room.error) env.report(error);
    } finally {
      if (alive()) this.#refreshing = undefined;
    }
  }

  /** Finds the other user of a direct room. The caller must then call `room.update()`. */
  findPeer(): void {
    const room = this.#room;
    const { summary } = this;
    const { kind, peer, lastMessage } = summary.value ?? {};
    if (kind !== "direct" || peer?.name) return;
    const me = room.core.me()?.id;
    const lastSender = lastMessage?.sender;
    if (lastSender && lastSender.id !== me)
      summary.setPeer(omitNullish({ user: lastSender.id, name: lastSender.name }));
    else if (!this.#peerRequested && (room.opened || !peer)) {
      // The last message is not from the other user, so only the list of members names the other user.
      this.#peerRequested = true;
      room.detach(async () => {
        let other: MemberObject | undefined;
        try {
          const page = await room.read<{ members?: unknown }>("/members");
          other = filterShape<MemberObject>(page?.members, SHAPES.member).find(({ user }) => user !== me);
        } finally {
          this.#peerRequested = !!other;
        }
        if (other) summary.setPeer(omitNullish({ user: other.user, name: other.name }));
        room.update();
      });
    }
  }

  #resetSummary(): void {
    this.#peerRequested = false;
    this.summary = new Summary(() => this.#room.core.me()?.id);
  }

  /** Reads the room once after a delay, if events have made its counts unknown. */
  #scheduleRecount(): void {
    const { recountSeq, value } = this.summary;
    const { env, connection } = this.#room.core;
    if (!recountSeq) this.#recounts = 0;
    if (!recountSeq || this.#recountTimer.pending || !connection.up) return;
    const delay = RECOUNT_DELAY_MS * 2 ** Math.min(this.#recounts, MAX_RECOUNT_DOUBLINGS);
    const spread = Math.min((value?.members ?? 0) * RECOUNT_SPREAD_PER_MEMBER_MS, MAX_RECOUNT_SPREAD_MS);
    this.#recountTimer.set(delay + env.random() * spread, () => {
      // Another read may have brought the counts meanwhile.
      if (!this.summary.recountSeq || this.#room.error) return;
      this.#recounts++;
      void this.refresh(0);
    });
  }

  #readTo(seq: number): void {
    this.summary.readTo(seq);
    this.#room.update();
  }

  /**
   * Reads the unread count again if the kit does not know it. The server can count now, because it has the read mark.
   */
  #readConfirmed(): void {
    if (this.summary.stale) this.#rereadUnread();
  }

  /** Reads the summary again. A running read repeats, because its answer may be too old. */
  #rereadUnread(): void {
    this.#stale = true;
    void this.refresh(0);
  }
}
