import type { Core } from "../core.js";
import { asError, type TidingsError } from "../errors.js";
import { queryString } from "../net/http.js";
import { asFrame, assertShape, SHAPES } from "../protocol/check.js";
import type { JoinedRoom, LogEvent, ServerFrame } from "../protocol/frames.js";
import type { Cursor } from "../protocol/objects.js";
import { pause, retryUntilDone } from "../timers.js";
import type { RoomPosition } from "../types.js";
import { PAGE_SIZE } from "./reader.js";
import type { RoomImpl } from "./room.js";
import type { Page } from "./timeline.js";

/**
 * The most missing events that the log reads after a gap. After a larger gap the newest messages are loaded instead.
 */
const MAX_FILL_EVENTS = 200;

/**
 * How the log treats events and `room:caught_up`. `open`: it applies them. `filling`: it keeps them until the missing
 * events of a gap are read. `closed` (a page is being read) and `joining` (until a join from the cursor is answered):
 * it drops them, because they would move the cursor past events that the log does not have.
 */
type IntakeMode = "open" | "filling" | "closed" | "joining";

type CaughtUpFrame = Extract<ServerFrame, { type: "room:caught_up" }>;

/** Follows the log of one room: joins, loads, fills gaps and moves the cursor, as docs/PROTOCOL.md describes. */
export class Log {
  phase: "off" | "loading" | "catching-up" | "live" = "off";
  error: TidingsError | undefined;
  cursor: Cursor | undefined;
  joined = false;
  /** The position around which the first page is read. */
  target: RoomPosition = "end";
  /** The seq of the last event that was emitted to the app, by epoch. Holds only the epoch of that event. */
  #lastEmittedSeqs: Record<string, number> = {};
  readonly #core: Core;
  readonly #room: RoomImpl;
  /** The epoch in the answer to the last join. The next event moves the cursor into this epoch. */
  #joinedEpoch: string | undefined;
  #intake: IntakeMode = "open";
  /** The frames that arrived during the gap fill. */
  #buffer: (LogEvent | CaughtUpFrame)[] = [];
  /** Whether the loaded messages are out of date and must be loaded again. */
  #stale = false;
  /** The seq up to which the next load must contain all events. */
  #requiredSeq = 0;
  /** The number of the current load, gap fill or join. A job with an older number stops. */
  #job = 0;

  constructor(room: RoomImpl) {
    this.#core = room.core;
    this.#room = room;
  }

  /** Stops following and replaces the cursor, because the user was added or removed, or another user connected. */
  reset(cursor?: Cursor): void {
    this.down();
    this.cursor = cursor;
    this.#stale = true;
  }

  /**
   * Stops following the log, because the connection was lost or a join was `refused`. After a refusal an earlier join
   * stays in force. If the log has dropped or held its events, it drops them until the next join is answered, because
   * the cursor is below the dropped events.
   */
  down(refused = false): void {
    this.#job++;
    this.joined = false;
    this.#joinedEpoch = undefined;
    this.#intake = refused && this.#intake !== "open" ? "closed" : "open";
    this.#requiredSeq = 0;
    this.#setPhase("off");
  }

  /** Joins the room. If the messages are missing or out of date, loads the newest ones first. */
  follow(): void {
    if (this.phase === "loading") return;
    if (this.#room.opened && this.#mustLoad()) void this.#load();
    else void this.#join(++this.#job);
  }

  /** Sets the phase `catching-up` while a join of several rooms, including this room, is being sent. */
  joinPending(): void {
    this.#setPhase("catching-up");
  }

  /**
   * Handles the answer to a join, which continues at `after`, or at the head if `after` is undefined. After the answer
   * the server sends the missed events.
   */
  onJoined(info: Partial<JoinedRoom>, after: Cursor | undefined): void {
    const { head } = info;
    const { cursor } = this;
    this.joined = true;
    this.#joinedEpoch = head?.epoch;
    const isNewEpoch = head && cursor && head.epoch !== cursor.epoch;
    // HTTP may have set or lowered the cursor after this join was sent, so events above the cursor may be missing.
    const isAbove = cursor && ((after ?? head)?.seq ?? 0) > cursor.seq;
    // While a page is read (`closed`), the answer belongs to an older join, so the intake stays closed.
    if (this.#intake === "joining") {
      // If the answer belongs to an older join, that to the join from the cursor is still to come.
      if (!isAbove) this.#intake = "open";
    } else if (!after && (isAbove || isNewEpoch) && this.#intake !== "closed") {
      this.#intake = "joining";
      this.follow();
    } else if (!after && this.#intake === "open") this.cursor ??= head;
    // Events of an earlier join moved the cursor after this join was sent. The new epoch may have lost them, but the
    // server sends no gap, because it knows only the lower cursor of the join.
    if (isNewEpoch && after && cursor.seq > after.seq) this.onGap(after.seq, head);
    this.#room.joined(info);
  }

  /** Handles an event, or `room:caught_up`, which means that no event up to its seq is missing. */
  onFrame(frame: LogEvent | CaughtUpFrame): void {
    if (this.#intake === "closed" || this.#intake === "joining") return;
    const caughtUp = frame.type === "room:caught_up";
    if (!caughtUp && this.cursor && this.#joinedEpoch !== undefined) {
      this.cursor = { epoch: this.#joinedEpoch, seq: this.cursor.seq };
    }
    this.#joinedEpoch = undefined;
    if (this.#intake === "filling") this.#buffer.push(frame);
    else if (!caughtUp) this.#apply(frame);
    else {
      this.cursor = { epoch: frame.epoch, seq: Math.max(frame.seq, this.cursor?.seq ?? 0) };
      if (this.phase !== "loading") this.#setPhase("live");
    }
  }

  /** Handles `room:gap`: the server does not send the events above `after`, so HTTP must supply them up to `head`. */
  onGap(after: number, head: Cursor): void {
    const before = this.cursor;
    const from = Math.min(before?.seq ?? after, after);
    this.#joinedEpoch = undefined;
    this.#requiredSeq = Math.max(this.#requiredSeq, head.seq);
    this.cursor = { epoch: head.epoch, seq: from };
    this.#room.dropAbove(from, head.seq);
    const epochChanged = before !== undefined && before.epoch !== head.epoch;
    if (!this.#room.opened) {
      // The app has not opened the room, so the log skips the gap and only the list entry is read again.
      this.cursor = head;
      this.#requiredSeq = 0;
      // Stops a running load, gap fill or join.
      this.#job++;
      this.#intake = "open";
      this.#room.refresh(head.seq);
      if (this.#core.connection.kind === "poll") void this.#join(++this.#job);
      else this.#setPhase("live");
    } else if (this.#mustLoad() || head.seq - from > MAX_FILL_EVENTS) {
      this.#stale = true;
      void this.#load();
    } else void this.#fill(head);
    if (epochChanged) {
      this.#room.epochChanged(after);
      if (this.#room.opened) this.#room.refresh(head.seq);
    }
  }

  /** Loads the messages around a position. The caller has dropped those that were loaded. */
  loadAround(at: RoomPosition): void {
    this.target = at;
    void this.#load();
  }

  /** Loads the room again, for example after a change of the user's own role. */
  reload(): void {
    this.#stale = true;
    if (this.#room.opened && this.#core.connection.up) void this.#load();
  }

  #mustLoad(): boolean {
    return this.#stale || !this.#room.timeline.loaded;
  }

  #setPhase(phase: Log["phase"]): void {
    this.phase = phase;
    if (phase === "live") this.error = undefined;
    this.#room.update();
  }

  #apply(event: LogEvent): void {
    const cursor = this.cursor;
    if (!cursor || event.seq <= cursor.seq) return;
    this.cursor = { epoch: cursor.epoch, seq: event.seq };
    // A page may end below an earlier cursor. The join after that page then repeats events that the app already has.
    const repeated = event.seq <= (this.#lastEmittedSeqs[cursor.epoch] ?? 0);
    if (!repeated) this.#lastEmittedSeqs = { [cursor.epoch]: event.seq };
    this.#room.apply(event, repeated);
  }

  async #join(job: number): Promise<void> {
    const { connection, env } = this.#core;
    const { id, rooms } = this.#room;
    const { up } = connection;
    this.#setPhase("catching-up");
    try {
      await retryUntilDone(
        env,
        () => up && job === this.#job,
        async () => {
          if (this.#intake !== "open") await rooms.joins.settled;
          if (job !== this.#job) return undefined;
          // A log without a cursor has no events yet, so nothing can be missing, and this join starts at the head.
          if (this.#intake !== "open") this.#intake = this.cursor ? "joining" : "open";
          if (!this.joined) rooms.joins.makeSpace();
          return rooms.joins.request({ room: id }, [this.#room]);
        },
      );
    } catch (thrown) {
      this.#fail(asError(thrown));
    }
  }

  #fail(error: TidingsError): void {
    this.#job++;
    this.joined = false;
    this.#setPhase("off");
    this.#room.failed(error);
  }

  /**
   * Reads a page, with retries. Returns undefined when a newer job has started or when the read has failed permanently.
   */
  async #read<T>(
    job: number,
    path: () => string,
    shape: string,
    failed?: (error: TidingsError) => void,
  ): Promise<T | undefined> {
    const { env } = this.#core;
    try {
      return await retryUntilDone(
        env,
        () => job === this.#job,
        async () => assertShape(await this.#room.read<T>(path()), shape),
        (error) => {
          this.error = error;
          failed?.(error);
          this.#room.update();
        },
      );
    } catch (thrown) {
      const error = asError(thrown);
      if (error.after === undefined) this.#fail(error);
      else {
        // The epoch of the request has ended, so everything above `error.after` must be read again.
        const seq = Math.min(this.cursor?.seq ?? 0, error.after);
        if (this.cursor) this.cursor = { epoch: this.cursor.epoch, seq };
        this.#room.dropAbove(seq, seq);
        this.reload();
        if (!this.#room.opened) {
          this.#room.refresh(0);
          void this.#join(++this.#job);
        }
      }
      return undefined;
    }
  }

  async #load(): Promise<void> {
    const job = ++this.#job;
    // If the room is joined and its cursor is valid, the log keeps applying events while the page is read.
    const isFollowing = this.cursor !== undefined && this.joined && !this.#stale && this.#intake === "open";
    if (!isFollowing) this.#intake = "closed";
    this.#setPhase("loading");
    const { timeline, listing, reader } = this.#room;
    const limit = Math.min(PAGE_SIZE, this.#core.env.windowSize);
    const isFirst = !timeline.loaded;
    if (isFirst && this.target === "unread" && !listing.summary.value) await listing.refresh(0);
    if (job !== this.#job) return;
    const around = () => (timeline.loaded ? timeline.anchor : reader.resolve(this.target, limit));
    // The server answers once PostgreSQL has all events up to `upto`, which never happens if Redis has lost some of
    // them. So after the error `unavailable`, a log that does not follow reads without `upto`. Its next join
    // reports the new epoch.
    let waitForUpto = true;
    const upto = () => (waitForUpto && Math.max(this.#requiredSeq, this.cursor?.seq ?? 0)) || undefined;
    const loaded = await timeline.duringRead(async () => {
      const page = await this.#read<Page>(
        job,
        () => `/messages${queryString({ around: around(), limit, upto: upto(), system_events: "true" })}`,
        SHAPES.page,
        ({ code }) => {
          if (code === "unavailable") waitForUpto = isFollowing;
        },
      );
      if (!page || job !== this.#job) return false;
      this.#stale = false;
      this.#requiredSeq = 0;
      if (this.#room.opened) timeline.load(page);
      const cursor = this.cursor;
      if (!cursor || !isFollowing) this.cursor = page.head;
      if (!isFollowing) this.#room.refresh(page.head.seq);
      // The page ends below the cursor, so accepted messages above `page.head` may be lost. The next join uses the
      // lower cursor, so no `room:gap` will report this loss.
      if (cursor && page.head.seq < cursor.seq) this.#room.epochChanged(page.head.seq);
      return true;
    });
    // A listener may have started a newer job.
    if (!loaded || job !== this.#job) return;
    const isUnread = isFirst && timeline.loaded && this.target === "unread";
    const at = isUnread ? reader.resolve("unread", limit) : undefined;
    if (at === undefined || timeline.includes(at)) void this.#join(job);
    else {
      // The newest page ended at 1 MiB, after the first unread message. A page around a seq is never read again, because
      // it may lack the messages on one side.
      timeline.clear();
      this.loadAround(at);
    }
  }

  async #fill(head: Cursor): Promise<void> {
    const job = ++this.#job;
    this.#buffer = [];
    this.#intake = "filling";
    this.#setPhase("catching-up");
    for (let idleReads = 0; ; ) {
      const at = this.cursor?.seq ?? 0;
      const page = await this.#read<{ events: unknown[]; next: Cursor; more: boolean }>(
        job,
        () =>
          `/events${queryString({ after: at, epoch: head.epoch, upto: head.seq, limit: MAX_FILL_EVENTS })}`,
        "events:a next:c",
      );
      if (!page) return;
      for (const event of page.events) {
        const frame = asFrame(event) as LogEvent | undefined;
        if (frame && "seq" in frame && job === this.#job) this.#apply(frame);
      }
      if (job !== this.#job) return;
      const seq = Math.max(this.cursor?.seq ?? 0, page.next.seq);
      this.cursor = { epoch: head.epoch, seq };
      if (seq >= head.seq) break;
      // Without progress the next request waits longer, because PostgreSQL lacks some of the missing events.
      idleReads = seq > at ? 0 : idleReads + 1;
      if (idleReads) await pause(this.#core.env.timers, 500 * idleReads).done;
      if (job !== this.#job) return;
    }
    this.#requiredSeq = 0;
    this.#setPhase("live");
    // A listener of the phase may have disconnected the client.
    if (job !== this.#job) return;
    this.#intake = "open";
    // A frame may start a load. The log then drops the remaining frames.
    for (const frame of this.#buffer) this.onFrame(frame);
    if (job === this.#job && this.#core.connection.kind === "poll") void this.#join(job);
  }
}
