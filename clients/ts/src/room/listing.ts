import { asError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import { filterShape, SHAPES } from "../protocol/check.js";
import type { JoinedRoom } from "../protocol/frames.js";
import type { Member, MyRoomObject } from "../protocol/objects.js";
import { pause } from "../timers.js";
import type { RoomImpl } from "./room.js";
import { Summary } from "./summary.js";
import { createWatermark, type Watermark } from "./watermark.js";

/** How long moves of the read mark, and of the delivered mark, are gathered into one command, in milliseconds. */
const READ_DELAY_MS = 250;
const DELIVERED_DELAY_MS = 600;
const MAX_SPREAD_MS = 5_000;
/**
 * The most reads of a room until its summary is recent enough, and the first pause between these reads, in
 * milliseconds. Each pause doubles.
 */
const MAX_TRIES = 8;
const PAUSE_MS = 500;

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
  readonly #read: Watermark;
  readonly #delivered: Watermark;
  #removedAt = 0;
  /** Whether the members of the direct room are being read or have been read. */
  #findingPeer = false;
  #refreshing: number | undefined;
  /** Whether the running read may return an answer that is too old. */
  #stale = false;
  /** Changes when another user connects. The kit ignores answers that were requested before this. */
  #userGeneration = 0;

  constructor(room: RoomImpl) {
    const { core, id } = room;
    this.#room = room;
    this.#read = createWatermark(core, "message:read", id, READ_DELAY_MS, () => this.#readConfirmed());
    this.#delivered = createWatermark(core, "message:delivered", id, DELIVERED_DELAY_MS, () => {});
    this.reset();
  }

  /** Resets the marks and the summary, because they belong to one membership. */
  reset(): void {
    this.#read.reset();
    this.#delivered.reset();
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
    this.#read.up();
    this.#delivered.up();
  }

  down(): void {
    this.#read.stop();
    this.#delivered.stop();
  }

  /** Drops the marks, because the user was removed from the room. */
  removed(): void {
    this.#removedAt = ++Listing.removals;
    this.#read.reset();
    this.#delivered.reset();
  }

  /** Marks all messages up to `seq` as read. */
  markRead(seq: number): void {
    this.#read.move(seq);
    this.#readTo(seq);
  }

  /** Moves the delivered mark, because this device has received the message at `seq`. */
  delivered(seq: number): void {
    this.#delivered.move(seq);
  }

  /** Applies a mark of the current user that the server has stored, perhaps for another device of the user. */
  applyMark(type: string, seq: number): void {
    if (type === "receipt:read") {
      this.#read.confirm(seq);
      this.#readTo(seq);
      this.#readConfirmed();
    } else this.#delivered.confirm(seq);
  }

  /** Applies the answer to a join. */
  joined({ room, kind, name, role, members, read_seq }: Partial<JoinedRoom>): void {
    if (kind) this.summary.setKnownFields({ room, kind, name, role, members } as Partial<MyRoomObject>);
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
    if (!complete || (this.summary.stale && object.read_seq < this.#read.stored())) this.#rereadUnread();
    this.#read.confirm(object.read_seq);
    // The answer contains the last message, so the message is now delivered. The random delay prevents
    // a burst of marks from many rooms.
    const { unread, lastMessage } = this.summary.value ?? {};
    if (unread && lastMessage)
      this.#delivered.move(lastMessage.seq ?? 0, room.core.env.random() * MAX_SPREAD_MS);
    this.findPeer();
    room.update();
    if (earlierError && room.opened && room.core.connection.up) room.log.follow();
    return true;
  }

  /** Reads the room again until its head (last seq) is at least `upto`, at most `MAX_TRIES` times. */
  async refresh(upto: number): Promise<void> {
    const room = this.#room;
    const running = this.#refreshing;
    this.#refreshing = Math.max(running ?? 0, upto);
    if (running !== undefined) return;
    const { env } = room.core;
    const userGeneration = this.#userGeneration;
    const alive = () => userGeneration === this.#userGeneration;
    try {
      for (let tries = 0; tries < MAX_TRIES && alive(); tries++) {
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
        await pause(env.timers, PAUSE_MS * 2 ** tries).done;
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
    const last = lastMessage?.sender;
    if (last && last.id !== me) summary.setPeer(omitNullish({ user: last.id, name: last.name }));
    else if (!this.#findingPeer && (room.opened || !peer)) {
      // The last message is not from the other user, so only the list of members names the other user.
      this.#findingPeer = true;
      room.detach(async () => {
        let other: Member | undefined;
        try {
          const page = await room.read<{ members?: unknown }>("/members");
          other = filterShape<Member>(page?.members, SHAPES.member).find(({ user }) => user !== me);
        } finally {
          this.#findingPeer = !!other;
        }
        if (other) summary.setPeer(omitNullish({ user: other.user, name: other.name ?? undefined }));
        room.update();
      });
    }
  }

  #resetSummary(): void {
    this.#findingPeer = false;
    this.summary = new Summary(() => this.#room.core.me()?.id);
  }

  #readTo(seq: number): void {
    this.summary.readTo(seq);
    this.#room.update();
  }

  /** Reads an unknown unread count again, because the server has confirmed the read mark. */
  #readConfirmed(): void {
    if (this.summary.stale) this.#rereadUnread();
  }

  /** Reads the summary again. A running read repeats, because its answer may be too old. */
  #rereadUnread(): void {
    this.#stale = true;
    void this.refresh(0);
  }
}
