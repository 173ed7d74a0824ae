import type { TidingsError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import type { Entry } from "../outbox/entry.js";
import { filterShape, SHAPES } from "../protocol/check.js";
import type { ChangeEvent, LogEvent } from "../protocol/frames.js";
import type { Cursor, MessageObject } from "../protocol/objects.js";
import { derived } from "../store.js";
import type { Message, MessageList } from "../types.js";
import { fold, isChange } from "./fold.js";
import { pendingMessage, toMessage } from "./message.js";
import type { RoomImpl } from "./room.js";

/** A page of messages in an HTTP answer. */
export interface Page {
  readonly messages: MessageObject[];
  readonly head: Cursor;
  readonly has_before: boolean;
  readonly has_after: boolean;
}

/** The rows of one room: messages read over HTTP with later events applied, and messages of the outbox. */
export class Timeline {
  readonly store = derived<MessageList>(() => this.#rows());
  /** Adds changes that the server has not confirmed yet to a row. */
  decorate: (row: Message) => Message = (row) => row;
  hasOlder = false;
  loaded = false;
  /** Changes when all messages are dropped or replaced. The kit then ignores answers to earlier requests. */
  generation = 0;
  readonly #room: RoomImpl;
  #items: readonly Message[] = [];
  #publicRows = new WeakMap<Message, Message>();
  #loadingOlder = false;
  #error: TidingsError | undefined;
  /** Events that arrive during a read. They are applied again to the answer, which may not contain them. */
  #eventsDuringRead: LogEvent[] = [];
  #reads = 0;
  #unbounded = false;

  constructor(room: RoomImpl) {
    this.#room = room;
  }

  /** The seq of the first message. */
  get firstSeq(): number | undefined {
    return this.#items[0]?.seq;
  }

  find(seq: number): Message | undefined {
    return this.#items.find((message) => message.seq === seq);
  }

  /** Must be called before a read over HTTP. Events are kept until `endRead`. */
  beginRead(): void {
    this.#reads++;
  }

  endRead(): void {
    if (--this.#reads === 0) this.#eventsDuringRead = [];
  }

  /** Drops all messages of the log. Messages of the outbox stay. */
  clear(): void {
    this.generation++;
    this.#items = [];
    this.hasOlder = this.loaded = this.#unbounded = false;
    this.store.refresh();
  }

  /** Replaces all messages by the newest page. */
  load(page: Page): void {
    this.generation++;
    this.loaded = true;
    this.#unbounded = false;
    this.#error = undefined;
    this.#items = this.#toRows(page.messages);
    this.hasOlder = page.has_before === true;
    for (const event of this.#eventsDuringRead) if (event.seq > page.head.seq) this.#fold(event);
    this.#trimToWindow();
    this.store.refresh();
  }

  /** Sets whether older messages are being read, and the error of the last attempt. */
  setOlderState(loading: boolean, error?: TidingsError): void {
    this.#loadingOlder = loading;
    this.#error = error;
    this.store.refresh();
  }

  /** Inserts a page before the first message. */
  prepend(page: Page): void {
    this.#unbounded = true;
    const first = this.firstSeq ?? Number.POSITIVE_INFINITY;
    const added = this.#toRows(page.messages).filter((message) => (message.seq ?? 0) < first);
    this.#items = [...added, ...this.#items];
    this.hasOlder = page.has_before === true;
    for (const event of this.#eventsDuringRead) {
      if (event.seq > page.head.seq && "target" in event && event.target < first) this.#fold(event);
    }
    this.store.refresh();
  }

  /** Replaces the message at `seq`; `undefined` removes it. `head` is the last seq that the HTTP answer includes. */
  replace(seq: number, found: MessageObject | undefined, head: number): void {
    this.#remove(seq);
    const first = this.firstSeq;
    if (found && (!this.hasOlder || first === undefined || seq > first)) {
      for (const message of this.#toRows([found])) this.#insert(message);
    }
    for (const event of this.#eventsDuringRead) {
      if (event.seq > head && "target" in event && event.target === seq) this.#fold(event);
    }
    this.store.refresh();
  }

  trim(): void {
    this.#unbounded = false;
    this.#trimToWindow();
    this.store.refresh();
  }

  /**
   * Drops the messages above `seq`. Reads each earlier message that an event above `seq` changed
   * again, with all events up to `upto`.
   */
  dropAbove(seq: number, upto: number): void {
    this.#items = this.#items.filter((message) => (message.seq ?? 0) <= seq);
    this.#eventsDuringRead = this.#eventsDuringRead.filter((event) => event.seq <= seq);
    for (const message of this.#items) {
      if (message.lastSeq > seq && message.seq !== undefined) this.#room.reader.reread(message.seq, upto);
    }
    this.store.refresh();
  }

  /** Applies an event of the log to the rows. */
  apply(event: LogEvent): void {
    if (this.#reads > 0) this.#eventsDuringRead.push(event);
    if (!this.loaded) return;
    const before = this.#items;
    this.#fold(event);
    this.#trimToWindow();
    if (this.#items !== before) this.store.refresh();
  }

  /** Inserts a message that the server has accepted, because its event may not follow. */
  accepted(entry: Entry): void {
    const { acceptance } = entry;
    if (!this.loaded || !acceptance || this.find(acceptance.seq)) return;
    const first = this.firstSeq;
    if (this.hasOlder && first !== undefined && acceptance.seq < first) return;
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

  #fold(event: LogEvent): void {
    if (isChange(event)) this.#change(event);
    else if (event.type === "message:new") {
      const message = toMessage(event, this.#me);
      const held = this.#items.find(
        (other) => other.seq === event.seq || (other.key === message.key && other.id !== undefined),
      );
      // A second message with the same client id is a duplicate. The server voids it with a later event.
      if (held && held.seq !== event.seq) return;
      if (!held) this.#insert(message);
      else if (held.lastSeq <= event.seq) this.#replaceRow(held, message);
    } else if (event.type === "message:void") {
      this.#remove(event.target);
      const first = this.firstSeq ?? 0;
      for (const seq of [event.message, event.of]) {
        if (seq != null && seq >= first && (seq === event.message || !this.find(seq))) {
          this.#room.reader.reread(seq, event.seq);
        }
      }
    }
  }

  #change(event: ChangeEvent): void {
    const held = this.find(event.target);
    if (!held) return;
    const folded = fold(held, event, this.#me);
    if (!folded) this.#room.reader.reread(event.target, event.seq);
    else if (folded !== held) this.#replaceRow(held, folded);
  }

  #replaceRow(held: Message, by: Message): void {
    this.#items = this.#items.map((other) => (other === held ? by : other));
  }

  #insert(message: Message): void {
    const at = ({ seq = 0 }: Message) => seq;
    this.#items = [...this.#items, message].sort((a, b) => at(a) - at(b));
  }

  #remove(seq: number): void {
    if (this.find(seq)) this.#items = this.#items.filter((message) => message.seq !== seq);
  }

  #trimToWindow(): void {
    const { windowSize } = this.#room.core.env;
    // Does not trim during a read of older messages, because their page must end directly before the first row.
    if (this.#unbounded || this.#loadingOlder || this.#items.length <= windowSize) return;
    this.#items = this.#items.slice(-windowSize);
    this.hasOlder = true;
  }

  /** Returns the row of a message in the outbox. */
  pendingRow(entry: Entry): Message {
    entry.row ??= pendingMessage(entry, this.#room.core.me());
    return entry.row;
  }

  #rows(): MessageList {
    const waiting = this.#room.core.outbox.entriesOf(this.#room.id);
    const unstored = new Set(waiting.map((entry) => entry.clientId));
    const held = new Set<string>();
    const rows = this.#items.map((message) => {
      if (message.mine) held.add(message.clientId);
      return this.#publicRow(message, message.mine && unstored.has(message.clientId));
    });
    for (const entry of waiting) {
      // A message of the outbox that is not among the loaded rows comes last, even if it is accepted.
      if (!held.has(entry.clientId)) rows.push(this.pendingRow(entry));
    }
    return omitNullish({
      items: rows,
      hasOlder: this.hasOlder,
      loadingOlder: this.#loadingOlder,
      error: this.#error,
    });
  }

  /** Returns the row that the app gets, with unconfirmed changes. `unstored`: the outbox holds the message. */
  #publicRow(message: Message, unstored: boolean): Message {
    let row = this.#publicRows.get(message);
    if (!row || row.stored === unstored) {
      row = this.decorate(unstored ? { ...message, stored: false } : message);
      this.#publicRows.set(message, row);
    }
    return row;
  }
}
