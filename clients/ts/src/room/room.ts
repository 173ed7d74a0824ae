import type { Core } from "../core.js";
import { TidingsError } from "../errors.js";
import { Parts } from "../part.js";
import { FORMS, must, only } from "../protocol/check.js";
import type { JoinedRoom, LogEvent, ServerFrame } from "../protocol/frames.js";
import { cell, keep } from "../store.js";
import { tidy } from "../tidy.js";
import { Alarm, insist } from "../timers.js";
import type { Message, Room, RoomState, SendOptions } from "../types.js";
import { Listing, removal } from "./listing.js";
import { Log, type LogHost } from "./log.js";
import { Reader } from "./reader.js";
import { type Page, Timeline } from "./timeline.js";

/** A room that is opened again within this time, in milliseconds, was never closed. */
const LINGER_MS = 3_000;

/** Who keeps the rooms. */
export interface RoomHost {
  /** What the list shows is other now. */
  touch(): void;
  /** Resolves as soon as no join of several rooms waits for its answer. */
  many: Promise<void>;
}

/** One room, whether opened or only listed. */
export class RoomImpl implements Room, LogHost {
  readonly id: string;
  readonly core: Core;
  readonly state = cell<RoomState>({ phase: "closed" });
  readonly timeline: Timeline;
  readonly log: Log;
  readonly listing: Listing;
  readonly messages;
  readonly parts = new Parts<RoomImpl>(this);
  /** Why it is not one's own, or cannot be followed. */
  error: TidingsError | undefined;
  readonly host: RoomHost;
  readonly #reader: Reader;
  readonly #linger: Alarm;
  #opens = 0;
  #addedAt = 0;

  constructor(core: Core, id: string, host: RoomHost) {
    this.id = id;
    this.core = core;
    this.host = host;
    this.#linger = new Alarm(core.env.timers);
    this.timeline = new Timeline(this);
    this.#reader = new Reader(this);
    this.log = new Log(core, this);
    this.listing = new Listing(this);
    this.messages = this.timeline.store;
  }

  /** Whether somebody has it open, or had a moment ago. */
  get held(): boolean {
    return this.#opens > 0 || this.#linger.on;
  }

  /** Reads something of this room over HTTP. */
  read<T>(path: string): Promise<T> {
    return this.core.http.send("GET", `/rooms/${encodeURIComponent(this.id)}${path}`);
  }

  /** Reads something of it until it can be had, in its turn among the rooms, and only while there is a connection. */
  insist<T>(alive: () => boolean, form: string, path: () => string): Promise<T | undefined> {
    const { env, connection, limit } = this.core;
    return insist(env, alive, async () => {
      await connection.whenUp();
      return must(await limit(() => this.read<T>(path())), form);
    });
  }

  /** Does what nobody waits for, in its turn among the rooms. */
  quietly(work: () => Promise<unknown>): void {
    this.core.limit(work).catch((thrown) => {
      if (!this.error) this.core.env.report(thrown);
    });
  }

  open(): () => void {
    let fresh = !this.held;
    this.#opens++;
    this.#linger.clear();
    if (this.error && this.error.code !== "not_found") {
      this.error = undefined;
      // Held or not, it is not followed any more since.
      fresh = true;
    }
    if (fresh && this.core.connection.up && !this.error) this.log.follow();
    this.show();
    let released = false;
    return () => {
      if (released) return;
      released = true;
      if (--this.#opens === 0) this.#linger.set(LINGER_MS, () => this.#close());
      this.show();
    };
  }

  loadOlder(count = 50): Promise<boolean> {
    return this.#reader.older(count);
  }

  trim(): void {
    this.timeline.trim();
  }

  send(content: string, options: SendOptions = {}): Message {
    this.parts.tell("sent");
    return this.timeline.pending(this.core.outbox.add(this.id, content, options));
  }

  markRead(seq: number): void {
    this.listing.markRead(seq);
  }

  /** There is a connection: what was not known to be told is told. */
  up(): void {
    if (this.error && !removal(this.error)) this.error = undefined;
    this.listing.up();
  }

  /** Not connected, or with another node. `ended`: nobody will connect by themselves. */
  down(ended?: TidingsError): void {
    this.parts.tell("down", ended);
    this.listing.down();
    this.log.down();
  }

  /** Somebody else is here now: nothing that is held is theirs. */
  forget(): void {
    this.down(new TidingsError("closed"));
    this.log.reset();
    this.timeline.clear();
    this.parts.tell("forget");
    this.listing.forget();
    this.#addedAt = 0;
    this.error = undefined;
    this.show();
  }

  /** One of the frames that name this room. */
  frame(frame: ServerFrame): void {
    switch (frame.type) {
      case "room:caught_up":
        this.log.onCaughtUp(frame);
        return;
      case "room:gap":
        this.log.onGap(frame.after, frame.head);
        return;
      case "receipt:read":
      case "receipt:delivered":
        for (const { user, seq } of only<{ user: string; seq: number }>(frame.marks, FORMS.mark)) {
          if (user === this.core.me()?.id) this.listing.marked(frame.type, seq);
        }
    }
    this.parts.tell("frame", frame);
  }

  /** The room has become one's own. */
  added({ from, kind, name, role }: Extract<ServerFrame, { type: "room:added" }>): void {
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
    this.listing.begin();
    this.listing.joined({ room: this.id, kind, name, role });
    void this.listing.refresh(0);
    this.log.follow();
  }

  /** The room is not one's own any more, as of a position. */
  removed(seq: number): void {
    if (seq <= this.#addedAt) return;
    this.log.reset();
    this.failed(new TidingsError("not_found", "", { room: this.id }));
  }

  /** It cannot be followed, or is not one's own. */
  failed(error: TidingsError): void {
    this.error = error;
    if (removal(error)) this.listing.removed();
    this.parts.tell("down");
    this.show();
    this.host.touch();
  }

  /** Shows how far it has come. */
  show(): void {
    const { connection } = this.core;
    this.parts.tell("moved", this.log.cursor?.seq ?? 0);
    const error = this.error ?? this.log.error;
    const summary = this.listing.summary.value;
    const before = this.state.get();
    const { loaded } = this.timeline;
    let phase: RoomState["phase"];
    if (this.error) phase = removal(this.error) ? "removed" : "failed";
    else if (!this.#opens) phase = "closed";
    else if (!connection.up) {
      phase = loaded || connection.shown.get().state === "disconnected" ? "offline" : "loading";
    } else if (this.log.phase === "off") phase = loaded ? "catching-up" : "loading";
    else phase = this.log.phase;
    keep(this.state, tidy({ phase, error, summary }));
    if (before.summary !== summary) this.host.touch();
  }

  /** What is held of this message cannot be told from events: it is read again. */
  reread(seq: number, upto: number): void {
    this.#reader.again(seq, upto);
  }

  load(page: Page): void {
    if (this.held) this.timeline.load(page);
  }

  dropAbove(seq: number, upto: number): void {
    this.timeline.dropAbove(seq, upto);
    this.listing.summary.dropAbove(seq);
  }

  refresh(upto: number): void {
    void this.listing.refresh(upto);
    this.parts.tell("missed");
  }

  renewed(after: number): void {
    this.core.outbox.reopen(this.id, after);
    this.parts.tell("joined");
  }

  apply(event: LogEvent): void {
    const { core, listing } = this;
    const me = core.me()?.id;
    listing.summary.apply(event);
    if (this.held) this.timeline.apply(event);
    switch (event.type) {
      case "message:new":
        listing.findPeer();
        if (event.sender.id === me) core.outbox.heard(event);
        else listing.reached(event.seq);
        break;
      case "message:void":
        core.outbox.voided(event);
        if (listing.summary.value?.lastMessage?.seq === event.target) void listing.refresh(event.seq);
        break;
      case "member:removed":
        if (event.user === me) this.removed(event.seq);
        break;
      case "member:changed":
        // With another role one sees other things of the past.
        if (event.user === me) {
          this.log.reload();
          if (!this.held) void listing.refresh(event.seq);
        }
    }
    this.parts.tell("event", event);
    this.show();
    core.emit("event", event);
  }

  joined(info: Partial<JoinedRoom>): void {
    this.listing.joined(info);
    this.parts.tell("joined");
    if (this.held) this.listing.findPeer();
    this.show();
  }

  #close(): void {
    this.timeline.clear();
    this.parts.tell("closed");
    this.show();
  }
}
