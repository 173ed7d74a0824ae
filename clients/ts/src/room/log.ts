import type { Core } from "../core.js";
import { asError, type TidingsError } from "../errors.js";
import { query } from "../net/http.js";
import { asFrame, FORMS, must } from "../protocol/check.js";
import type { JoinedRoom, LogEvent, ServerFrame } from "../protocol/frames.js";
import type { Cursor } from "../protocol/objects.js";
import { tidy } from "../tidy.js";
import { insist, pause } from "../timers.js";
import type { Page, Timeline } from "./timeline.js";

/** Further behind than this the room is loaded anew. */
const FAR = 200;
/** Messages of the newest page, unless the window is smaller. */
const PAGE = 50;

/** Who follows the log. */
export interface LogHost {
  readonly id: string;
  /** Where messages are held, where they are. */
  readonly timeline: Timeline;
  /** Whether messages are to be held, and not just the last one. */
  readonly held: boolean;
  /** Reads something of the room over HTTP. */
  read<T>(path: string): Promise<T>;
  apply(event: LogEvent): void;
  load(page: Page): void;
  /** What is held above a position is of no use; storage tells what is there, up to `upto`. */
  dropAbove(seq: number, upto: number): void;
  /** What the list says of the room is to be read again, up to this position at least. */
  refresh(upto: number): void;
  /** The server's memory began anew, and what was above `after` is in doubt. */
  renewed(after: number): void;
  joined(info: Partial<JoinedRoom>): void;
  /** Resolves as soon as no join of several rooms waits for its answer. */
  readonly host: { readonly many: Promise<void> };
  /** The phase may be another one. */
  show(): void;
  /** It cannot be followed. */
  failed(error: TidingsError): void;
}

type CaughtUp = Extract<ServerFrame, { type: "room:caught_up" }>;

/** Follows the log of one room: the cursor, joining, loading, and filling gaps, as the page on the protocol says. */
export class Log {
  phase: "off" | "loading" | "catching-up" | "live" = "off";
  error: TidingsError | undefined;
  cursor: Cursor | undefined;
  joined = false;
  readonly #core: Core;
  readonly #host: LogHost;
  /** The epoch that an answer to a join told; it counts once something follows. */
  #promised: string | undefined;
  /** What came behind a gap that is not filled yet. */
  #held: (LogEvent | CaughtUp)[] | undefined;
  /** What comes before the join that follows a page would skip what that does not hold: it is not listened to. */
  #hears: "all" | "next-join" | "nothing" = "all";
  /** What is held of the room is of no use: load it. */
  #anew = false;
  /** What is loaded must reach up to here. */
  #need = 0;
  #job = 0;

  constructor(core: Core, host: LogHost) {
    this.#core = core;
    this.#host = host;
  }

  /** Begins at a cursor that was told elsewhere, unless there is one already. */
  begin(cursor: Cursor | undefined): void {
    this.cursor ??= cursor;
  }

  /** Lets go of where it was: the room is another one now, or not one's own any more. */
  reset(cursor?: Cursor): void {
    this.down();
    this.cursor = cursor;
    this.#anew = true;
  }

  /** The connection is gone. */
  down(): void {
    this.#job++;
    this.joined = false;
    this.#promised = undefined;
    this.#held = undefined;
    this.#hears = "all";
    this.#need = 0;
    this.#set("off");
  }

  /** Joins, after having loaded what has to be. */
  follow(): void {
    if (this.phase === "loading") return;
    if (this.#host.held && (this.#anew || !this.#host.timeline.loaded)) void this.#load();
    else void this.#join(++this.#job);
  }

  /** A join of this room with others is under way. */
  joining(): void {
    this.#set("catching-up");
  }

  /** It is joined; the missed events follow. */
  onJoined(info: Partial<JoinedRoom>): void {
    this.joined = true;
    if (this.#hears === "next-join") this.#hears = "all";
    this.#promised = info.head?.epoch;
    this.#host.joined(info);
  }

  onEvent(event: LogEvent): void {
    if (this.#hears !== "all") return;
    if (this.#promised !== undefined) {
      if (this.cursor) this.cursor = { epoch: this.#promised, seq: this.cursor.seq };
      this.#promised = undefined;
    }
    if (this.#held) this.#held.push(event);
    else this.#apply(event);
  }

  onCaughtUp(frame: CaughtUp): void {
    if (this.#hears !== "all") return;
    this.#promised = undefined;
    if (this.#held) {
      this.#held.push(frame);
      return;
    }
    const { epoch, seq } = frame;
    this.cursor = { epoch, seq: Math.max(seq, this.cursor?.seq ?? 0) };
    if (this.phase !== "loading") this.#set("live");
  }

  onGap(after: number, head: Cursor): void {
    const before = this.cursor;
    const from = Math.min(before?.seq ?? after, after);
    this.#promised = undefined;
    this.#held = undefined;
    this.#need = Math.max(this.#need, head.seq);
    this.cursor = { epoch: head.epoch, seq: from };
    this.#host.dropAbove(from, head.seq);
    const renewed = before !== undefined && before.epoch !== head.epoch;
    if (!this.#host.held) {
      // Nothing is held of what is missing: the list reads what it shows.
      this.cursor = head;
      this.#need = 0;
      // Of what is under way nothing may come any more.
      this.#job++;
      this.#hears = "all";
      this.#host.refresh(head.seq);
      if (this.#core.connection.kind === "poll") void this.#join(++this.#job);
      else this.#set("live");
    } else if (this.#anew || !this.#host.timeline.loaded || head.seq - from > FAR) {
      this.#anew = true;
      void this.#load();
    } else void this.#fill(head);
    if (renewed) {
      this.#host.renewed(after);
      if (this.#host.held) this.#host.refresh(head.seq);
    }
  }

  /** Loads the room anew, as after a change of one's own role. */
  reload(): void {
    this.#anew = true;
    if (this.#host.held && this.#core.connection.up) void this.#load();
  }

  #set(phase: Log["phase"]): void {
    this.phase = phase;
    if (phase === "live") this.error = undefined;
    this.#host.show();
  }

  #apply(event: LogEvent): void {
    const cursor = this.cursor;
    if (!cursor || event.seq <= cursor.seq) return;
    this.cursor = { epoch: cursor.epoch, seq: event.seq };
    this.#host.apply(event);
  }

  /** Takes what was held. Something in it may begin another hold: the rest goes there. */
  #release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const frame of held) {
      if (frame.type === "room:caught_up") this.onCaughtUp(frame);
      else this.onEvent(frame);
    }
  }

  async #join(job: number): Promise<void> {
    const { connection, env } = this.#core;
    const { up } = connection;
    this.#set("catching-up");
    try {
      await insist(
        env,
        () => up && job === this.#job,
        async () => {
          if (this.#hears !== "all") await this.#host.host.many;
          if (job !== this.#job) return undefined;
          if (this.#hears === "nothing") this.#hears = "next-join";
          return connection.request(
            tidy({ type: "room:join", room: this.#host.id, after: this.cursor } as const),
          );
        },
      );
    } catch (thrown) {
      this.#fail(asError(thrown));
    }
  }

  #fail(error: TidingsError): void {
    this.#job++;
    this.joined = false;
    this.#set("off");
    this.#host.failed(error);
  }

  /** Reads a page until there is one. `undefined` when it is of no use any more. */
  async #read<T>(
    job: number,
    path: () => string,
    form: string,
    failed?: (error: TidingsError) => void,
  ): Promise<T | undefined> {
    const { env } = this.#core;
    try {
      return await insist(
        env,
        () => job === this.#job,
        async () => must(await this.#host.read<T>(path()), form),
        (error) => {
          this.error = error;
          failed?.(error);
          this.#host.show();
        },
      );
    } catch (thrown) {
      const error = asError(thrown);
      if (error.after === undefined) this.#fail(error);
      else {
        // The epoch is past: all above that place is to be read anew.
        const seq = Math.min(this.cursor?.seq ?? 0, error.after);
        if (this.cursor) this.cursor = { epoch: this.cursor.epoch, seq };
        this.#host.dropAbove(seq, seq);
        this.reload();
        if (!this.#host.held) {
          this.#held = undefined;
          this.#host.refresh(0);
          void this.#join(++this.#job);
        }
      }
      return undefined;
    }
  }

  async #load(): Promise<void> {
    const job = ++this.#job;
    // Where the log was followed all along it goes on being so; only the messages have to be read.
    const followed = this.cursor !== undefined && this.joined && !this.#anew;
    if (!followed) {
      this.#hears = "nothing";
      this.#held = undefined;
    }
    this.#set("loading");
    this.#host.timeline.begin();
    const limit = Math.min(PAGE, this.#core.env.windowSize);
    // Storage may never come that far where the server's memory is lost. A join that follows tells.
    let wait = true;
    const upto = () => (wait && Math.max(this.#need, this.cursor?.seq ?? 0)) || undefined;
    const page = await this.#read<Page>(
      job,
      () => `/messages${query({ limit, upto: upto() })}`,
      FORMS.page,
      ({ code }) => {
        if (code === "unavailable") wait = followed;
      },
    );
    if (page && job === this.#job) {
      this.#anew = false;
      this.#need = 0;
      this.#host.load(page);
      const cursor = this.cursor;
      if (!cursor || !followed) this.cursor = page.head;
      if (!followed) this.#host.refresh(page.head.seq);
      // What was accepted above may be lost: no gap tells of it once the cursor is below.
      if (cursor && page.head.seq < cursor.seq) this.#host.renewed(page.head.seq);
    }
    this.#host.timeline.end();
    if (!page || job !== this.#job) return;
    void this.#join(job);
  }

  async #fill(head: Cursor): Promise<void> {
    const job = ++this.#job;
    this.#held = [];
    this.#set("catching-up");
    for (let idle = 0; ; ) {
      const at = this.cursor?.seq ?? 0;
      const page = await this.#read<{ events: unknown[]; next: Cursor; more: boolean }>(
        job,
        () => `/events${query({ after: at, epoch: head.epoch, upto: head.seq, limit: FAR })}`,
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
      // Storage has not come so far yet: the same is asked again, which waits for it.
      idle = seq > at ? 0 : idle + 1;
      if (idle) await pause(this.#core.env.timers, 500 * idle).done;
      if (job !== this.#job) return;
    }
    this.#need = 0;
    this.#set("live");
    this.#release();
    if (job === this.#job && this.#core.connection.kind === "poll") void this.#join(job);
  }
}
