import type { Core } from "../core.js";
import type { TidingsError } from "../errors.js";
import type { Entry } from "../outbox/entry.js";
import { FORMS, only } from "../protocol/check.js";
import type { ChangeEvent, LogEvent } from "../protocol/frames.js";
import type { Cursor, MessageObject } from "../protocol/objects.js";
import { derived } from "../store.js";
import { tidy } from "../tidy.js";
import type { Message, MessageList } from "../types.js";
import { fold, isChange } from "./fold.js";
import { pendingMessage, toMessage } from "./message.js";

/** A page of messages as HTTP tells it. */
export interface Page {
  readonly messages: MessageObject[];
  readonly head: Cursor;
  readonly has_before: boolean;
  readonly has_after: boolean;
}

/** What the rows of a room depend on. */
export interface TimelineHost {
  readonly id: string;
  readonly core: Core;
  /** What is held of this message cannot be told from events: read it again. */
  reread(seq: number, upto: number): void;
}

/** The rows of one room: what was read over HTTP, with the events since folded in, and what is on its way. */
export class Timeline {
  readonly store = derived<MessageList>(() => this.#rows());
  /** Puts on a row what is not answered yet. */
  dress: (row: Message) => Message = (row) => row;
  hasOlder = false;
  loaded = false;
  /** Differs once all that was held was let go: what was asked for before is of no use then. */
  generation = 0;
  readonly #host: TimelineHost;
  #items: readonly Message[] = [];
  #shown = new WeakMap<Message, Message>();
  #loadingOlder = false;
  #error: TidingsError | undefined;
  /** Events that what is being read may or may not hold already. */
  #kept: LogEvent[] = [];
  #reading = 0;
  #lifted = false;

  constructor(host: TimelineHost) {
    this.#host = host;
  }

  /** The seq of the first message held. */
  get first(): number | undefined {
    return this.#items[0]?.seq;
  }

  find(seq: number): Message | undefined {
    return this.#items.find((message) => message.seq === seq);
  }

  /** Something is read from now on: what comes meanwhile is kept, until `end`. */
  begin(): void {
    this.#reading++;
  }

  end(): void {
    if (--this.#reading === 0) this.#kept = [];
  }

  /** Lets go of everything. Rows that are on their way stay. */
  clear(): void {
    this.generation++;
    this.#items = [];
    this.hasOlder = this.loaded = this.#lifted = false;
    this.store.touch();
  }

  /** Takes the newest page, in the place of all that is held. */
  load(page: Page): void {
    this.generation++;
    this.loaded = true;
    this.#lifted = false;
    this.#error = undefined;
    this.#items = this.#read(page.messages);
    this.hasOlder = page.has_before === true;
    for (const event of this.#kept) if (event.seq > page.head.seq) this.#fold(event);
    this.#bound();
    this.store.touch();
  }

  /** Says that older messages are being read, or that it failed. */
  older(loading: boolean, error?: TidingsError): void {
    this.#loadingOlder = loading;
    this.#error = error;
    this.store.touch();
  }

  /** Puts a page in front of what is held. */
  prepend(page: Page): void {
    this.#lifted = true;
    const first = this.first ?? Number.POSITIVE_INFINITY;
    const added = this.#read(page.messages).filter((message) => (message.seq ?? 0) < first);
    this.#items = [...added, ...this.#items];
    this.hasOlder = page.has_before === true;
    for (const event of this.#kept) {
      if (event.seq > page.head.seq && "target" in event && event.target < first) this.#fold(event);
    }
    this.store.touch();
  }

  /** Takes one message as storage has it; `undefined`: nothing stands there. */
  replace(seq: number, found: MessageObject | undefined, head: number): void {
    this.#remove(seq);
    const first = this.first;
    if (found && (!this.hasOlder || first === undefined || seq > first)) {
      for (const message of this.#read([found])) this.#insert(message);
    }
    for (const event of this.#kept) {
      if (event.seq > head && "target" in event && event.target === seq) this.#fold(event);
    }
    this.store.touch();
  }

  trim(): void {
    this.#lifted = false;
    this.#bound();
    this.store.touch();
  }

  /** Lets go of what stands above a position; what was changed above it is read again, as of `upto`. */
  dropAbove(seq: number, upto: number): void {
    this.#items = this.#items.filter((message) => (message.seq ?? 0) <= seq);
    this.#kept = this.#kept.filter((event) => event.seq <= seq);
    for (const message of this.#items) {
      if (message.lastSeq > seq && message.seq !== undefined) this.#host.reread(message.seq, upto);
    }
    this.store.touch();
  }

  /** Folds an event in. */
  apply(event: LogEvent): void {
    if (this.#reading > 0) this.#kept.push(event);
    if (!this.loaded) return;
    const before = this.#items;
    this.#fold(event);
    this.#bound();
    if (this.#items !== before) this.store.touch();
  }

  /** One's own message has its place, whether or not its event comes. */
  accepted(entry: Entry): void {
    const { place } = entry;
    if (!this.loaded || !place || this.find(place.seq)) return;
    const first = this.first;
    if (this.hasOlder && first !== undefined && place.seq < first) return;
    this.#insert({ ...this.pending(entry), stored: true });
    this.store.touch();
  }

  /** What is put on rows is other now. */
  redress(): void {
    this.#shown = new WeakMap();
    this.store.touch();
  }

  /** The id of who is here. */
  get #me(): string | undefined {
    return this.#host.core.me()?.id;
  }

  #read(list: unknown): Message[] {
    return only<MessageObject>(list, FORMS.message).map((object) => {
      const message = toMessage(object, this.#me);
      if (message.mine) this.#host.core.outbox.stored(object);
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
      // The place that an answer told is filled by the event; the same client id elsewhere will be a void.
      if (held && held.seq !== event.seq) return;
      if (!held) this.#insert(message);
      else if (held.lastSeq <= event.seq) this.#exchange(held, message);
    } else if (event.type === "message:void") {
      this.#remove(event.target);
      const first = this.first ?? 0;
      for (const seq of [event.message, event.of]) {
        if (seq != null && seq >= first && (seq === event.message || !this.find(seq))) {
          this.#host.reread(seq, event.seq);
        }
      }
    }
  }

  #change(event: ChangeEvent): void {
    const held = this.find(event.target);
    if (!held) return;
    const folded = fold(held, event, this.#me);
    if (!folded) this.#host.reread(event.target, event.seq);
    else if (folded !== held) this.#exchange(held, folded);
  }

  #exchange(held: Message, by: Message): void {
    this.#items = this.#items.map((other) => (other === held ? by : other));
  }

  #insert(message: Message): void {
    const at = ({ seq = 0 }: Message) => seq;
    this.#items = [...this.#items, message].sort((a, b) => at(a) - at(b));
  }

  #remove(seq: number): void {
    if (this.find(seq)) this.#items = this.#items.filter((message) => message.seq !== seq);
  }

  #bound(): void {
    const { windowSize } = this.#host.core.env;
    // What a page under way is to stand in front of stays.
    if (this.#lifted || this.#loadingOlder || this.#items.length <= windowSize) return;
    this.#items = this.#items.slice(-windowSize);
    this.hasOlder = true;
  }

  /** The row of what is on its way. */
  pending(entry: Entry): Message {
    entry.row ??= pendingMessage(entry, this.#host.core.me());
    return entry.row;
  }

  #rows(): MessageList {
    const waiting = this.#host.core.outbox.of(this.#host.id);
    const unstored = new Set(waiting.map((entry) => entry.clientId));
    const held = new Set<string>();
    const rows = this.#items.map((message) => {
      if (message.mine) held.add(message.clientId);
      return this.#shownAs(message, message.mine && unstored.has(message.clientId));
    });
    for (const entry of waiting) {
      // Without a loaded page nothing tells where what is accepted belongs.
      if (!held.has(entry.clientId)) rows.push(this.pending(entry));
    }
    return tidy({
      items: rows,
      hasOlder: this.hasOlder,
      loadingOlder: this.#loadingOlder,
      error: this.#error,
    });
  }

  /** A row as it is shown: with what is not answered yet, and whether it is known to be stored. */
  #shownAs(message: Message, unstored: boolean): Message {
    let row = this.#shown.get(message);
    if (!row || row.stored === unstored) {
      row = this.dress(unstored ? { ...message, stored: false } : message);
      this.#shown.set(message, row);
    }
    return row;
  }
}
