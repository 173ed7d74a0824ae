import type { Core } from "../core.js";
import { replyAudience } from "../draft/audience.js";
import { TidingsError } from "../errors.js";
import { Features } from "../feature.js";
import { omitNullish } from "../omit-nullish.js";
import { assertShape, filterShape, SHAPES } from "../protocol/check.js";
import type { JoinedRoom, LogEvent, ServerFrame } from "../protocol/frames.js";
import type { Rooms } from "../rooms.js";
import { cell, setIfChanged } from "../store.js";
import { retryUntilDone, Timer } from "../timers.js";
import type { Message, Room, RoomPosition, RoomState, SendOptions } from "../types.js";
import { isRemoval, Listing } from "./listing.js";
import { Log } from "./log.js";
import { MessageReader, PAGE_SIZE } from "./reader.js";
import { Timeline } from "./timeline.js";

/** How long a room stays open after the app has released it for the last time, in milliseconds. */
const LINGER_MS = 3_000;

/** One room, whether the app has opened it or not. */
export class RoomImpl implements Room {
  readonly id: string;
  readonly core: Core;
  readonly state = cell<RoomState>({ phase: "closed" });
  readonly timeline: Timeline;
  readonly log: Log;
  readonly listing: Listing;
  readonly messages;
  readonly features = new Features<RoomImpl>(this);
  /** The reason why the room is not accessible or cannot be followed, if any. */
  error: TidingsError | undefined;
  /** The list that contains this room. */
  readonly rooms: Rooms;
  readonly reader: MessageReader;
  readonly #lingerTimer: Timer;
  #openers = 0;
  #addedAt = 0;

  constructor(core: Core, id: string, rooms: Rooms) {
    this.id = id;
    this.core = core;
    this.rooms = rooms;
    this.#lingerTimer = new Timer(core.env.timers);
    this.timeline = new Timeline(this);
    this.reader = new MessageReader(this);
    this.log = new Log(this);
    this.listing = new Listing(this);
    this.messages = this.timeline.store;
  }

  /** Whether the app has opened the room, or released it less than `LINGER_MS` ago. */
  get opened(): boolean {
    return this.#openers > 0 || this.#lingerTimer.pending;
  }

  /** Whether the kit may drop this object, and later make a new object for the room, without losing anything. */
  get forgettable(): boolean {
    const inUse = this.opened || this.state.watched() || this.messages.watched() || !this.features.unused;
    const isListed = !this.error && this.listing.summary.value !== undefined;
    return !inUse && !isListed && this.core.outbox.entriesOf(this.id).length === 0;
  }

  /** Reads `path` below the HTTP resource of this room. */
  read<T>(path: string): Promise<T> {
    return this.core.http("GET", `/rooms/${encodeURIComponent(this.id)}${path}`);
  }

  /**
   * Reads with retries; each try waits for a connection and for a slot of the request limiter. Returns undefined once
   * `alive` returns false. Rejects when the refusal is permanent.
   */
  retryRead<T>(alive: () => boolean, shape: string, path: () => string): Promise<T | undefined> {
    const { env, connection, limit } = this.core;
    return retryUntilDone(env, alive, async () => {
      await connection.whenUp();
      return assertShape(await limit(() => this.read<T>(path())), shape);
    });
  }

  /** Runs work that no caller awaits, in a slot of the request limiter. Reports errors unless the room has failed. */
  detach(work: () => Promise<unknown>): void {
    this.core.limit(work).catch((thrown) => {
      if (!this.error) this.core.env.report(thrown);
    });
  }

  open(): () => void {
    return this.#open("end");
  }

  openAround(at: RoomPosition): () => void {
    const release = this.#open(at);
    const { timeline, reader } = this;
    if (!timeline.loaded || timeline.includes(reader.resolve(at, PAGE_SIZE))) return release;
    // The room is open, but at another position, for example because its older messages were dropped. Lists begin at
    // the position when it is loaded, so until then nothing is loaded.
    if (this.core.connection.up && !this.error) reader.openAt(at);
    else this.detach(() => this.jumpTo(at));
    return release;
  }

  jumpTo(at: RoomPosition): Promise<boolean> {
    return this.reader.moveTo(at);
  }

  jumpToLatest(): Promise<boolean> {
    return this.jumpTo("end");
  }

  #open(at: RoomPosition): () => void {
    let mustFollow = !this.opened;
    this.rooms.keep(this);
    // In a room that is already open, an earlier caller may wait for another position.
    if (mustFollow) this.log.target = at;
    this.#openers++;
    this.#lingerTimer.clear();
    if (this.error && this.error.code !== "not_found") {
      this.error = undefined;
      // The error has stopped the log, so the log must be followed again even if the room was still open.
      mustFollow = true;
    }
    if (mustFollow && this.core.connection.up && !this.error) this.log.follow();
    this.update();
    let released = false;
    return () => {
      if (released) return;
      released = true;
      if (--this.#openers === 0) this.#lingerTimer.set(LINGER_MS, () => this.#close());
      this.update();
    };
  }

  loadOlder(count = 50): Promise<boolean> {
    return this.reader.load(true, count);
  }

  loadNewer(count = 50): Promise<boolean> {
    return this.reader.load(false, count);
  }

  trim(): void {
    this.timeline.trim();
  }

  send(content: string, options: SendOptions = {}): Message {
    this.features.callHook("messageSent");
    const { core, timeline } = this;
    const { replyTo, visibleTo } = options;
    const original = visibleTo || replyTo === undefined ? undefined : timeline.find(replyTo);
    const audience = visibleTo ?? (original && replyAudience(original, core.me()?.id));
    const row = timeline.pendingRow(
      core.outbox.add(this.id, content, {
        ...options,
        visibleTo: audience === "everyone" ? undefined : audience,
      }),
    );
    if (timeline.hasNewer) this.detach(() => this.jumpToLatest());
    return row;
  }

  markRead(seq: number, { acrossGaps = false }: { readonly acrossGaps?: boolean } = {}): boolean {
    const { timeline, listing, log } = this;
    if (this.opened && !acrossGaps) {
      const { summary } = listing;
      const { readSeq = 0, unread = 0, unreadCapped } = summary.value ?? {};
      const { firstSeq = 0, lastSeq = 0 } = timeline;
      if (timeline.hasNewer) seq = Math.min(seq, lastSeq);
      // Messages above the cursor may be missing, for example before an own message that was just accepted.
      if (!timeline.loaded || seq > (log.cursor?.seq ?? 0)) return false;
      // Unread messages before the first loaded one were never shown, so the mark must not skip them. They exist if the
      // loaded messages include fewer unread ones than the room has.
      const hasGap = timeline.hasOlder && firstSeq > readSeq + 1 && seq > readSeq;
      if (hasGap && (unreadCapped || !summary.counts(lastSeq) || timeline.countUnread(readSeq) < unread))
        return false;
    }
    listing.markRead(seq);
    return true;
  }

  /** Clears an error that is not a removal, and sends pending marks, because the client has connected. */
  up(): void {
    this.features.callHook("up");
    if (this.error && !isRemoval(this.error)) this.error = undefined;
    this.listing.up();
  }

  /** Stops the work of a lost connection. `ended` is set if the kit will not reconnect by itself. */
  down(ended?: TidingsError): void {
    this.features.callHook("down", ended);
    this.listing.down();
    this.log.down();
  }

  /** Drops all state of the earlier user, because another user is connected now. */
  userChanged(): void {
    this.down(new TidingsError("closed"));
    this.log.reset();
    this.timeline.clear();
    this.features.callHook("userChanged");
    this.listing.userChanged();
    this.#addedAt = 0;
    this.error = undefined;
    this.update();
  }

  /** Handles a frame that names this room and is not a log event. */
  handleFrame(frame: ServerFrame): void {
    switch (frame.type) {
      case "room:caught_up":
        this.log.onFrame(frame);
        return;
      case "room:gap":
        this.log.onGap(frame.after, frame.head);
        return;
      case "error":
        // Other errors of a room answer a command without a `ref`.
        if (frame.reason === "ended") this.removed(Number.POSITIVE_INFINITY);
        return;
      case "receipt:read":
      case "receipt:delivered":
        for (const { user, seq } of filterShape<{ user: string; seq: number }>(frame.marks, SHAPES.mark)) {
          if (user === this.core.me()?.id) this.listing.applyMark(frame.type, seq);
        }
    }
    this.features.callHook("frame", frame);
  }

  /** Handles `room:added`: the user was added to the room by the event at `from`. */
  added(frame: Extract<ServerFrame, { type: "room:added" }>): void {
    const { from } = frame;
    const { cursor, joined } = this.log;
    this.#addedAt = Math.max(this.#addedAt, from.seq);
    if (!this.error) {
      if (joined) return;
      if (cursor && cursor.epoch === from.epoch && cursor.seq >= from.seq) {
        this.log.follow();
        return;
      }
    }
    this.error = undefined;
    this.timeline.clear();
    this.log.reset(from);
    this.listing.reset();
    this.listing.joined(frame, this.core.env.timers.now());
    // Messages from before the membership count as read.
    this.listing.markRead(from.seq);
    void this.listing.refresh(0);
    this.log.follow();
  }

  /** Handles the removal of the user from the room by the event at `seq`. */
  removed(seq: number): void {
    if (seq <= this.#addedAt) return;
    this.log.reset();
    this.failed(new TidingsError("not_found", "The user is not a member", { room: this.id }));
  }

  /** Stops the room with an error: it cannot be followed, or the user is not a member. */
  failed(error: TidingsError): void {
    this.error = error;
    if (isRemoval(error)) this.listing.removed();
    this.features.callHook("down");
    this.update();
    this.rooms.list.refresh();
  }

  /** Computes the public state again, and reports it if it has changed. */
  update(): void {
    const { connection } = this.core;
    this.features.callHook("cursorMoved", this.log.cursor?.seq ?? 0);
    const error = this.error ?? this.log.error;
    const summary = this.listing.summary.value;
    const before = this.state.get();
    const { loaded } = this.timeline;
    let phase: RoomState["phase"];
    if (this.error) phase = isRemoval(this.error) ? "removed" : "failed";
    else if (!this.#openers) phase = "closed";
    else if (!connection.up) {
      phase = loaded || connection.status.get().state === "disconnected" ? "offline" : "loading";
    } else if (this.log.phase === "off") phase = loaded ? "catching-up" : "loading";
    else phase = this.log.phase;
    setIfChanged(this.state, omitNullish({ phase, error, summary }));
    if (before.summary !== summary) this.rooms.list.refresh();
  }

  /**
   * Drops messages and events above `seq`. If such an event changed an earlier message, reads that message anew, with
   * all events up to `upto`.
   */
  dropAbove(seq: number, upto: number): void {
    this.timeline.dropAbove(seq, upto);
    this.listing.summary.dropAbove(seq);
  }

  /** Reads the list entry again until its head is at least `upto`, because events were skipped. */
  refresh(upto: number): void {
    void this.listing.refresh(upto);
    this.features.callHook("missed");
  }

  /** Handles a new epoch (lifetime of the server's Redis data), in which events above `after` may be lost. */
  epochChanged(after: number): void {
    this.core.outbox.resend(this.id, after);
    this.features.callHook("joined");
  }

  /** Applies an event. A repeated event is not emitted again. */
  apply(event: LogEvent, repeated: boolean): void {
    const { core, listing } = this;
    const me = core.me()?.id;
    listing.apply(event);
    if (this.opened) this.timeline.apply(event);
    switch (event.type) {
      case "message:new":
        listing.findPeer();
        if (event.sender.id === me) core.outbox.received(event);
        else listing.delivered(event.seq);
        break;
      case "message:void":
        core.outbox.voided(event);
        break;
      case "room:updated":
        if (event.slow_mode_s != null) core.outbox.slowModeChanged(this.id);
        break;
      case "member:removed":
        if (event.user === me) this.removed(event.seq);
        break;
      case "member:changed":
        // The new role may show or hide earlier messages, so the room is loaded again.
        if (event.user === me && !repeated) {
          this.log.reload();
          if (!this.opened) void listing.refresh(event.seq);
        }
    }
    this.features.callHook("event", event);
    this.update();
    if (!repeated) core.emit("event", event);
  }

  /** Applies the answer to a join. */
  joined(info: Partial<JoinedRoom>): void {
    this.listing.joined(info);
    this.features.callHook("joined");
    if (this.opened) this.listing.findPeer();
    this.update();
  }

  /** Closes a room that the app has released, without waiting for the rest of `LINGER_MS`. */
  endLinger(): void {
    if (!this.#lingerTimer.pending) return;
    this.#lingerTimer.clear();
    this.#close();
  }

  #close(): void {
    this.timeline.clear();
    this.features.callHook("closed");
    this.update();
    this.rooms.closed(this);
  }
}
