import type { Env } from "../env.js";
import { asError, TidingsError } from "../errors.js";
import type { ServerConnection } from "../net/connection.js";
import { toJson } from "../net/frame-size.js";
import type { AckFrame, MessageNew, MessageVoid } from "../protocol/frames.js";
import type { Rooms } from "../rooms.js";
import type { EntryStore } from "../storage/tab-entry-store.js";
import { derived } from "../store.js";
import { Timer } from "../timers.js";
import type { Outbox, OutboxEntry, SendOptions } from "../types.js";
import { type Entry, type EntryChange, hasUploads, toOutboxEntry, toSendFrame } from "./entry.js";
import { type SendTask, sendUntilAnswered } from "./send-until-answered.js";

/**
 * How long accepted messages wait after a connect before they are sent again, in milliseconds. Meanwhile the server may
 * report a loss of Redis data.
 */
const EPOCH_WAIT_MS = 1_500;

/** The fields that identify a message on the wire. */
interface MessageRef {
  readonly room: string;
  readonly client_id: string;
}

/**
 * Sends messages and changes of messages: each exactly once, also after reconnects and reloads. Keeps the order of the
 * messages of a room, and of the changes of a message. A change waits for earlier messages of its room.
 */
export class OutboxImpl implements Outbox {
  readonly #env: Env;
  readonly #connection: ServerConnection;
  readonly #uuid: () => string;
  /** The stored entries; undefined when the outbox is only in memory. */
  readonly #entryStore: EntryStore | undefined;
  readonly #tasks = new Map<Entry, SendTask>();
  readonly #list = derived<readonly OutboxEntry[]>(() =>
    this.#entries.filter((entry) => !entry.change).map(toOutboxEntry),
  );
  readonly #epochTimer: Timer;
  #entries: Entry[] = [];
  /** Entries of other users, kept in memory until those users return. */
  #otherUsersEntries: Entry[] = [];
  #user: string | undefined;
  #lastUser: string | undefined;
  /** The rooms, whose rows are updated after each change. Set after the construction. */
  rooms: Rooms | undefined;
  readonly get = this.#list.get;
  readonly subscribe = this.#list.subscribe;

  constructor(env: Env, connection: ServerConnection, uuid: () => string) {
    this.#env = env;
    this.#connection = connection;
    this.#uuid = uuid;
    this.#epochTimer = new Timer(env.timers);
    this.#entryStore = env.storage?.open(env, uuid(), (entry) => this.#adopt(entry));
  }

  /** Adopts the user's entries that closed pages or other tabs left. */
  start(): void {
    this.#otherUsersEntries = this.#otherUsersEntries.filter((entry) => !this.#adopt(entry));
    void this.#entryStore?.start((user) => {
      this.#lastUser ??= user;
      // Before the first connect the user is unknown, and entries are stored for the last user of the storage.
      for (const entry of this.#entries) if (entry.user === undefined) void this.#persist(entry);
    });
  }

  /** Stops sending and releases the entries to other tabs. */
  stop(): void {
    for (const entry of this.#entries) this.#stopTask(entry);
    this.#epochTimer.clear();
    this.#entryStore?.stop();
  }

  /** Sends the entries of `user`, because the client has connected as this user. */
  up(user: string): void {
    if (this.#user !== user) {
      this.#user = this.#lastUser = user;
      this.#entryStore?.saveUser(user);
      for (const entry of [...this.#entries]) {
        if (entry.user === undefined) {
          entry.user = user;
          void this.#persist(entry);
        } else if (entry.user !== user) {
          // Entries of another user wait in the storage, or in memory, until that user returns.
          if (this.#entryStore) this.#entryStore.release(entry);
          else this.#otherUsersEntries.push(entry);
          this.#drop(entry);
        }
      }
      this.start();
    }
    // If Redis has lost data, the server soon announces a new epoch. Accepted messages wait for this announcement, so
    // that they are sent again in order.
    for (const entry of this.#entries) if (entry.acceptance) this.#stopTask(entry);
    this.#epochTimer.set(EPOCH_WAIT_MS, () => this.#startTasks());
    this.#startTasks();
  }

  /**
   * Adds a message, or a change of a message. Throws TidingsError `outbox_full`, or `bad_request` when JSON cannot
   * represent the options or the change.
   */
  add(room: string, content: string, options: SendOptions, change?: EntryChange): Entry {
    if (this.#entries.length >= this.#env.outboxLimit) {
      throw new TidingsError("outbox_full", "", { room });
    }
    const entry: Entry = {
      clientId: this.#uuid(),
      room,
      content,
      // A copy, so that later changes of the app's objects do not change the message.
      ...JSON.parse(toJson({ options, change })),
      at: this.#env.timers.now(),
      user: this.#user,
      tries: 0,
    };
    this.#entries = [...this.#entries, entry];
    this.changed(entry);
    return entry;
  }

  /** All entries of a room, in the order in which they were added. */
  entriesOf(room: string): Entry[] {
    return this.#entries.filter((entry) => entry.room === room);
  }

  readonly retry = (clientId: string): void => {
    const entry = this.#find(clientId);
    if (!entry?.error) return;
    if (entry.error.reason === "rejected") {
      // The retry needs a new client id, because the server keeps the old one for the rejected message.
      this.discard(clientId);
      this.add(entry.room, entry.content, entry.options, entry.change);
      return;
    }
    entry.error = undefined;
    entry.user = this.#user ?? entry.user;
    this.changed(entry);
  };

  readonly retryAll = (): void => {
    for (const entry of this.#entries) this.retry(entry.clientId);
  };

  readonly discard = (clientId: string): void => {
    const entry = this.#find(clientId);
    if (entry && !entry.acceptance) this.#delete(entry);
  };

  /**
   * Handles the event or the `ack` of the user's own message, which proves that the server has accepted it. An `ack`
   * may arrive after its request timed out.
   */
  received(event: Omit<MessageNew, "type"> | AckFrame): void {
    const entry = this.#entryOf(event);
    if (!entry) return;
    this.#accept(entry, event);
    if ((event as Partial<AckFrame>).stage === "stored") this.#delete(entry);
  }

  /** Removes a message that was read over HTTP, which proves that the message is stored. */
  stored(message: MessageRef): void {
    const entry = this.#entryOf(message);
    if (entry) this.#delete(entry);
  }

  /** Handles `message:void` for an accepted message: a duplicate of a stored message, or a rejected message. */
  voided(event: MessageVoid): void {
    const entry = this.#entryOf(event);
    const { reason, room, of } = event;
    if (!entry) return;
    if (reason === "duplicate" && of != null) this.#delete(entry);
    else if (reason === "rejected") {
      this.#fail(
        entry,
        new TidingsError("bad_request", "The server could not store the message", { reason, room }),
      );
    }
  }

  /**
   * Sends accepted messages above `after` again, because a new epoch (lifetime of the Redis data) began and messages
   * that PostgreSQL has not stored may be lost.
   */
  resend(room: string, after: number): void {
    for (const entry of this.entriesOf(room)) {
      if (entry.error || (entry.acceptance?.seq ?? after) <= after) continue;
      entry.acceptance = undefined;
      // A running task would send its entry out of order, at its own next retry. After the stop, `#startTasks` sends
      // the entries in order.
      this.#stopTask(entry);
      this.changed(entry);
    }
  }

  /** Ends the pauses of refused messages of a room, because its slow mode has changed. */
  slowModeChanged(room: string): void {
    for (const [entry, task] of this.#tasks) if (entry.room === room) task.pause?.end();
  }

  #find(clientId: string): Entry | undefined {
    return this.#entries.find((entry) => entry.clientId === clientId);
  }

  /** Finds the entry of the message that an event or an answer names. */
  #entryOf({ room, client_id }: MessageRef): Entry | undefined {
    return this.entriesOf(room).find((entry) => entry.clientId === client_id);
  }

  /** Adds an entry that a closed page or another tab left. Returns false for an entry of another user. */
  #adopt(entry: Entry): boolean {
    if (entry.user !== undefined && entry.user !== (this.#user ?? this.#lastUser)) return false;
    this.#entries = [...this.#entries, entry].sort((a, b) => (a.clientId < b.clientId ? -1 : 1));
    this.changed(entry);
    return true;
  }

  /**
   * Starts a task for each entry that may be sent now: in each room the first message that is not accepted, the first
   * such change of each message before it, and all accepted entries before these. A change never delays a message,
   * because the server may be unable to find its target for a long time.
   */
  #startTasks(): void {
    if (this.#user === undefined) return;
    const blocked = new Set<string>();
    for (const entry of this.#entries) {
      const { room, change } = entry;
      const queue = change ? `${room} ${change.seq}` : room;
      if (entry.error || blocked.has(room) || blocked.has(queue)) continue;
      if (!entry.acceptance || this.#epochTimer.pending) blocked.add(queue);
      if (entry.acceptance ? this.#epochTimer.pending : hasUploads(entry)) continue;
      if (!this.#tasks.has(entry)) void this.#runSendTask(entry);
    }
  }

  async #runSendTask(entry: Entry): Promise<void> {
    const task: SendTask = { ended: false };
    this.#tasks.set(entry, task);
    try {
      await this.#persist(entry);
      const makeFrame = () => {
        if (this.#entryStore?.mayHaveBeenSent(entry.clientId)) entry.tries ||= 1;
        entry.tries++;
        return toSendFrame(entry);
      };
      await sendUntilAnswered(this.#env, this.#connection, entry, task, makeFrame, (retryAt) => {
        entry.retryAt = retryAt;
        this.changed(entry);
      });
    } catch (thrown) {
      const error = asError(thrown);
      if (!task.ended) {
        // An accepted entry is in the log, so it does not fail when the server refuses a repeated send. Only `rejected`
        // means that the server could not store it.
        if (entry.acceptance && error.reason !== "rejected") this.#delete(entry);
        else this.#fail(entry, error);
      }
    } finally {
      if (!task.ended) this.#tasks.delete(entry);
      this.#startTasks();
    }
  }

  #accept(entry: Entry, { seq, id, at }: { seq: number; id?: string; at: string }): void {
    if (entry.acceptance?.seq === seq && !entry.error) return;
    entry.acceptance = { seq, id: id ?? "", at: Date.parse(at) || entry.at };
    entry.error = undefined;
    this.changed(entry);
    this.rooms?.accepted(entry);
  }

  #fail(entry: Entry, error: TidingsError): void {
    this.#stopTask(entry);
    entry.acceptance = undefined;
    entry.error = error;
    this.changed(entry);
  }

  #delete(entry: Entry): void {
    this.#entryStore?.remove(entry.clientId);
    this.#drop(entry);
  }

  #drop(entry: Entry): void {
    this.#stopTask(entry);
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#notifyRooms(entry);
  }

  #stopTask(entry: Entry): void {
    const task = this.#tasks.get(entry);
    if (!task) return;
    task.ended = true;
    task.pause?.end();
    this.#tasks.delete(entry);
  }

  /** Persists a changed entry, and updates everything that shows it. */
  changed(entry: Entry): void {
    entry.view = entry.row = undefined;
    void this.#persist(entry);
    this.#notifyRooms(entry);
  }

  /** Persists an entry. Before the first connect the entry is stored for the last user of the storage. */
  #persist(entry: Entry): Promise<void> | undefined {
    return this.#entryStore?.save({ ...entry, user: entry.user ?? this.#lastUser });
  }

  /** Refreshes the list and the rows of the entry's room, and starts entries that may be sent now. */
  #notifyRooms(entry: Entry): void {
    this.#list.refresh();
    this.rooms?.outboxChanged(entry.room);
    this.#startTasks();
  }
}
