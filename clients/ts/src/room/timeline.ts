import type { TidingsError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import type { Entry } from "../outbox/entry.js";
import { asFrame, filterShape, isEvent, SHAPES } from "../protocol/check.js";
import type { ChangeEvent, LogEvent, SystemEvent } from "../protocol/frames.js";
import type { Cursor, MessageObject } from "../protocol/objects.js";
import { derived } from "../store.js";
import type { Message, MessageList } from "../types.js";
import { applyChange, isChange } from "./fold.js";
import { toMessage, toPendingMessage } from "./message.js";
import type { RoomImpl } from "./room.js";

/** A page of messages in an HTTP answer. */
export interface Page {
  readonly messages: MessageObject[];
  readonly head: Cursor;
  readonly has_before: boolean;
  readonly has_after: boolean;
  /** Changes of members and of the room. Servers of earlier versions send none. */
  readonly system_events?: unknown;
}

/** The most changes of members and of the room that are kept. A room may have very many among few messages. */
const MAX_SYSTEM_EVENTS = 1_000;

const isSystemEvent = (event: { readonly type: string }): event is SystemEvent =>
  event.type.startsWith("member:") || event.type === "room:updated";

/** The rows of one room: messages read over HTTP with later events applied, and messages of the outbox. */
export class Timeline {
  readonly store = derived<MessageList>(() => this.#rows());
  /** Adds to a row the changes that the server has not confirmed yet. */
  decorate: (row: Message) => Message = (row) => row;
  hasOlder = false;
  /** Whether the log has messages after the last loaded one. New messages are then not inserted. */
  hasNewer = false;
  loaded = false;
  /** Changes when all messages are dropped or replaced. The kit then ignores answers to earlier requests. */
  generation = 0;
  readonly #room: RoomImpl;
  #items: readonly Message[] = [];
  /** The changes of members and of the room among the items. */
  #systemEvents: readonly SystemEvent[] = [];
  #publicRows = new WeakMap<Message, Message>();
  #loading: "older" | "newer" | undefined;
  #error: TidingsError | undefined;
  /** Events that arrive during a read. They are applied again to the answer, which may not contain them. */
  #eventsDuringRead: LogEvent[] = [];
  #reads = 0;
  /** Whether more messages than `windowSize` may be loaded, as after `loadOlder`. */
  #unbounded = false;

  constructor(room: RoomImpl) {
    this.#room = room;
  }

  /** The seq of the first message. */
  get firstSeq(): number | undefined {
    return this.#items[0]?.seq;
  }

  /** The seq of the last message. */
  get lastSeq(): number | undefined {
    return this.#items.at(-1)?.seq;
  }

  /** The seq around which a reload reads: that of the middle message. Undefined if the newest messages are loaded. */
  get anchor(): number | undefined {
    return (this.hasNewer && this.#items[this.#items.length >> 1]?.seq) || undefined;
  }

  /** Whether all messages around this seq are loaded. Undefined means the end of the log. */
  includes(at: number | undefined): boolean {
    if (!this.loaded) return false;
    const { firstSeq = 0, lastSeq = 0 } = this;
    if (at === undefined) return !this.hasNewer;
    return (at >= firstSeq || !this.hasOlder) && (at <= lastSeq || !this.hasNewer);
  }

  /** The number of messages of others above `seq` that are loaded and not deleted. */
  countUnread(seq: number): number {
    return this.#items.filter((message) => !message.mine && !message.deleted && (message.seq ?? 0) > seq)
      .length;
  }

  find(seq: number): Message | undefined {
    return this.#items.find((message) => message.seq === seq);
  }

  /** Runs work that reads messages over HTTP and inserts them. Events are kept until the work ends. */
  async duringRead<T>(work: () => Promise<T>): Promise<T> {
    this.#reads++;
    try {
      return await work();
    } finally {
      if (--this.#reads === 0) this.#eventsDuringRead = [];
    }
  }

  /** Drops all messages of the log. Messages of the outbox stay. */
  clear(): void {
    this.generation++;
    this.#items = [];
    this.#systemEvents = [];
    this.hasOlder = this.hasNewer = this.loaded = this.#unbounded = false;
    this.store.refresh();
  }

  /** Replaces all messages by a page. */
  load(page: Page): void {
    this.generation++;
    this.loaded = true;
    this.hasNewer = this.#unbounded = !!page.has_after;
    this.#error = undefined;
    this.#items = this.#toRows(page.messages);
    this.#systemEvents = [];
    this.#addSystemEvents(page.system_events);
    this.hasOlder = !!page.has_before;
    for (const event of this.#eventsDuringRead) if (event.seq > page.head.seq) this.#applyToItems(event);
    this.#trimToWindow();
    this.store.refresh();
  }

  /** Sets which side is being read, and the error of the last attempt. */
  setLoading(side: "older" | "newer" | undefined, error?: TidingsError): void {
    this.#loading = side;
    this.#error = error;
    this.store.refresh();
  }

  /** Inserts a page before the first message, or after the last one. */
  extend(page: Page, older: boolean): void {
    this.#unbounded = true;
    const edge = older ? (this.firstSeq ?? Number.POSITIVE_INFINITY) : (this.lastSeq ?? 0);
    const isOutside = (seq = 0) => (older ? seq < edge : seq > edge);
    const newRows = this.#toRows(page.messages).filter(({ seq }) => isOutside(seq));
    this.#items = older ? [...newRows, ...this.#items] : [...this.#items, ...newRows];
    this.#addSystemEvents(page.system_events);
    if (older) this.hasOlder = !!page.has_before;
    else this.hasNewer = !!page.has_after;
    for (const event of this.#eventsDuringRead) {
      if (event.seq > page.head.seq && isOutside("target" in event ? event.target : event.seq))
        this.#applyToItems(event);
    }
    this.store.refresh();
  }

  /** Replaces the message at `seq`; `undefined` removes it. `head` is the last seq that the HTTP answer includes. */
  replace(seq: number, found: MessageObject | undefined, head: number): void {
    this.#remove(seq);
    if (found && this.includes(seq)) {
      for (const message of this.#toRows([found])) this.#insert(message);
    }
    for (const event of this.#eventsDuringRead) {
      if (event.seq > head && "target" in event && event.target === seq) this.#applyToItems(event);
    }
    this.store.refresh();
  }

  trim(): void {
    this.#unbounded = false;
    this.#trimToWindow();
    this.store.refresh();
  }

  /**
   * Drops the messages above `seq`. If an event above `seq` changed an earlier message, reads that message anew, with
   * all events up to `upto`.
   */
  dropAbove(seq: number, upto: number): void {
    this.#items = this.#items.filter((message) => (message.seq ?? 0) <= seq);
    this.#systemEvents = this.#systemEvents.filter((event) => event.seq <= seq);
    this.#eventsDuringRead = this.#eventsDuringRead.filter((event) => event.seq <= seq);
    // Without a message the position of the window is unknown.
    if (this.hasNewer && !this.#items.length) this.loaded = false;
    for (const message of this.#items) {
      if (message.lastSeq > seq && message.seq !== undefined) this.#room.reader.reread(message.seq, upto);
    }
    this.store.refresh();
  }

  /** Applies an event of the log to the rows. */
  apply(event: LogEvent): void {
    if (this.#reads > 0) this.#eventsDuringRead.push(event);
    if (!this.loaded) return;
    const before = [this.#items, this.#systemEvents];
    this.#applyToItems(event);
    this.#trimToWindow();
    if (this.#items !== before[0] || this.#systemEvents !== before[1]) this.store.refresh();
  }

  /** Inserts a message that the server has accepted, because its event may never arrive. */
  accepted(entry: Entry): void {
    const { acceptance } = entry;
    if (!acceptance || entry.change || !this.includes(acceptance.seq) || this.find(acceptance.seq)) return;
    this.#insert({ ...this.pendingRow(entry), stored: true });
    this.store.refresh();
  }

  /** Discards the rows that the app gets, because the results of `decorate` have changed. */
  redecorate(): void {
    this.#publicRows = new WeakMap();
    this.store.refresh();
  }

  /** The id of the current user. */
  get #me(): string | undefined {
    return this.#room.core.me()?.id;
  }

  #toRows(list: unknown): Message[] {
    return filterShape<MessageObject>(list, SHAPES.message).map((object) => {
      const message = toMessage(object, this.#me);
      if (message.mine) this.#room.core.outbox.stored(object);
      return message;
    });
  }

  #addSystemEvents(list: unknown): void {
    const bySeq = new Map(this.#systemEvents.map((event) => [event.seq, event]));
    for (const one of Array.isArray(list) ? list : []) {
      const frame = asFrame(one);
      if (frame && isEvent(frame) && isSystemEvent(frame)) bySeq.set(frame.seq, frame);
    }
    if (bySeq.size > this.#systemEvents.length)
      this.#systemEvents = [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(-MAX_SYSTEM_EVENTS);
  }

  #applyToItems(event: LogEvent): void {
    // The events between the last loaded message and a later one are not loaded.
    const isApart = this.hasNewer && event.seq > (this.lastSeq ?? 0);
    if (isChange(event)) this.#change(event);
    else if (isSystemEvent(event)) {
      if (!isApart) this.#addSystemEvents([event]);
    } else if (event.type === "message:new") {
      if (isApart) return;
      const message = toMessage(event, this.#me);
      const existing = this.#items.find(
        (other) => other.seq === event.seq || (other.key === message.key && other.id !== undefined),
      );
      // A second message with the same client id is a duplicate. The server voids it with a later event.
      if (existing && existing.seq !== event.seq) return;
      if (!existing) this.#insert(message);
      else if (existing.lastSeq <= event.seq) this.#replaceRow(existing, message);
    } else if (event.type === "message:void") {
      this.#remove(event.target);
      if (this.#systemEvents.some(({ seq }) => seq === event.target))
        this.#systemEvents = this.#systemEvents.filter(({ seq }) => seq !== event.target);
      const first = this.firstSeq ?? 0;
      for (const seq of [event.message, event.of]) {
        if (seq != null && seq >= first && (seq === event.message || !this.find(seq))) {
          this.#room.reader.reread(seq, event.seq);
        }
      }
    }
  }

  #change(event: ChangeEvent): void {
    const message = this.find(event.target);
    if (!message) return;
    const changed = applyChange(message, event, this.#me);
    if (!changed) this.#room.reader.reread(event.target, event.seq);
    else if (changed !== message) this.#replaceRow(message, changed);
  }

  #replaceRow(row: Message, replacement: Message): void {
    this.#items = this.#items.map((other) => (other === row ? replacement : other));
  }

  #insert(message: Message): void {
    const seqOf = ({ seq = 0 }: Message) => seq;
    this.#items = [...this.#items, message].sort((a, b) => seqOf(a) - seqOf(b));
  }

  #remove(seq: number): void {
    if (this.find(seq)) this.#items = this.#items.filter((message) => message.seq !== seq);
  }

  #trimToWindow(): void {
    const { windowSize } = this.#room.core.env;
    // Does not trim while a page is read, because the page must be adjacent to the loaded rows.
    if (this.#unbounded || this.#loading || this.#items.length <= windowSize) return;
    this.#items = this.#items.slice(-windowSize);
    this.#systemEvents = this.#systemEvents.filter(({ seq }) => seq > (this.firstSeq ?? 0));
    this.hasOlder = true;
  }

  /** Returns the row of a message in the outbox. */
  pendingRow(entry: Entry): Message {
    entry.row ??= toPendingMessage(entry, this.#room.core.me());
    return entry.row;
  }

  #rows(): MessageList {
    const outboxEntries = this.#room.core.outbox.entriesOf(this.#room.id);
    const unstored = new Set(outboxEntries.map((entry) => entry.clientId));
    const loadedClientIds = new Set<string>();
    const rows = this.#items.map((message) => {
      if (message.mine) loadedClientIds.add(message.clientId);
      return this.#publicRow(message, message.mine && unstored.has(message.clientId));
    });
    for (const entry of outboxEntries) {
      // A message of the outbox that is not among the loaded rows comes last, even if it is accepted.
      if (!entry.change && !loadedClientIds.has(entry.clientId)) rows.push(this.pendingRow(entry));
    }
    return omitNullish({
      items: rows,
      hasOlder: this.hasOlder,
      loadingOlder: this.#loading === "older",
      hasNewer: this.hasNewer,
      loadingNewer: this.#loading === "newer",
      systemEvents: this.#systemEvents,
      error: this.#error,
    });
  }

  /**
   * Returns the row that the app gets, with unconfirmed changes. `unstored` means that the outbox still holds the
   * message.
   */
  #publicRow(message: Message, unstored: boolean): Message {
    let row = this.#publicRows.get(message);
    if (!row || row.stored === unstored) {
      row = this.decorate(unstored ? { ...message, stored: false } : message);
      this.#publicRows.set(message, row);
    }
    return row;
  }
}
