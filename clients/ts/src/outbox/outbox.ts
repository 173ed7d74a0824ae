import type { Env } from "../env.js";
import { asError, rejected, TidingsError } from "../errors.js";
import type { Connection } from "../net/connection.js";
import { asJson } from "../net/fits.js";
import type { AckFrame, MessageNew, MessageVoid } from "../protocol/frames.js";
import { derived } from "../store.js";
import { Alarm, type Pause } from "../timers.js";
import type { Outbox, OutboxEntry, SendOptions } from "../types.js";
import { type Entry, sendFrame, shown } from "./entry.js";
import type { Keeper } from "./keeper.js";
import { repeat } from "./repeat.js";

/** How long what was accepted waits for on a new connection, in milliseconds, to hear whether it still is. */
const SETTLE_MS = 1_500;

/** Who is told of the outbox. */
export interface OutboxHost {
  /** Something of what waits for this room is other now. */
  outboxChanged(room: string): void;
  /** A message was accepted: it has its place, whether or not its event comes. */
  accepted(entry: Entry): void;
}

/** What names a message on the wire. */
interface Named {
  readonly room: string;
  readonly client_id: string;
}

interface Task {
  ended: boolean;
  pause?: Pause;
}

/** Brings messages to the server: each once, those of a room in order, over reconnects and reloads. */
export class OutboxImpl implements Outbox {
  readonly #env: Env;
  readonly #connection: Connection;
  readonly #uuid: () => string;
  /** None where the outbox lives no longer than the client. */
  readonly #keeper: Keeper | undefined;
  readonly #tasks = new Map<Entry, Task>();
  readonly #list = derived<readonly OutboxEntry[]>(() => this.#entries.map(shown));
  readonly #settling: Alarm;
  #entries: Entry[] = [];
  /** What is somebody else's, and is kept nowhere else until they are back. */
  #left: Entry[] = [];
  #user: string | undefined;
  #lastUser: string | undefined;
  host: OutboxHost | undefined;
  readonly get = this.#list.get;
  readonly subscribe = this.#list.subscribe;

  constructor(env: Env, connection: Connection, uuid: () => string) {
    this.#env = env;
    this.#connection = connection;
    this.#uuid = uuid;
    this.#settling = new Alarm(env.timers);
    this.#keeper = env.storage?.open(env, uuid(), (entry) => this.#adopt(entry));
  }

  /** Finds what was left from before. */
  start(): void {
    this.#left = this.#left.filter((entry) => !this.#adopt(entry));
    this.#keeper?.start((user) => {
      this.#lastUser ??= user;
      // What was written before that is theirs, unless somebody else connects.
      for (const entry of this.#entries) if (entry.user === undefined) void this.#keep(entry);
    });
  }

  /** Lets other tabs have what is left. */
  stop(): void {
    for (const entry of this.#entries) this.#halt(entry);
    this.#settling.clear();
    this.#keeper?.stop();
  }

  /** It is known now whose messages these are. */
  up(user: string): void {
    if (this.#user !== user) {
      this.#user = this.#lastUser = user;
      this.#keeper?.known(user);
      for (const entry of [...this.#entries]) {
        if (entry.user === undefined) {
          entry.user = user;
          void this.#keep(entry);
        } else if (entry.user !== user) {
          // Theirs stays in the storage, until they are back.
          if (this.#keeper) this.#keeper.leave(entry);
          else this.#left.push(entry);
          this.#forget(entry);
        }
      }
      this.start();
    }
    // A server whose memory began anew says so before long: then what was accepted goes again, in order.
    for (const entry of this.#entries) if (entry.place) this.#halt(entry);
    this.#settling.set(SETTLE_MS, () => this.#pump());
    this.#pump();
  }

  /** Takes a message. Throws TidingsError `outbox_full`, or `bad_request` for what cannot be JSON. */
  add(room: string, content: string, options: SendOptions): Entry {
    if (this.#entries.length >= this.#env.outboxLimit) {
      throw new TidingsError("outbox_full", "", { room });
    }
    const entry: Entry = {
      clientId: this.#uuid(),
      room,
      content,
      // A copy: what the app does to its objects later changes nothing of what is on its way.
      options: JSON.parse(asJson(options)),
      at: this.#env.timers.now(),
      user: this.#user,
      tries: 0,
    };
    this.#entries = [...this.#entries, entry];
    this.#save(entry);
    return entry;
  }

  /** What waits for a room, or has failed there, in order. */
  of(room: string): Entry[] {
    return this.#entries.filter((entry) => entry.room === room);
  }

  readonly retry = (clientId: string): void => {
    const entry = this.#find(clientId);
    if (!entry?.error) return;
    if (entry.error.reason === "rejected") {
      // Its client id is taken for ever by what could not be written.
      this.discard(clientId);
      this.add(entry.room, entry.content, entry.options);
      return;
    }
    entry.error = undefined;
    entry.user = this.#user ?? entry.user;
    this.#save(entry);
  };

  readonly retryAll = (): void => {
    for (const entry of this.#entries) this.retry(entry.clientId);
  };

  readonly discard = (clientId: string): void => {
    const entry = this.#find(clientId);
    if (entry && !entry.place) this.#done(entry);
  };

  /** One's own message came as an event: it was accepted. */
  heard(event: MessageNew): void {
    const entry = this.#named(event);
    if (entry) this.#accept(entry, event);
  }

  /** One's own message was read from storage. */
  stored(message: Named): void {
    const entry = this.#named(message);
    if (entry) this.#done(entry);
  }

  /** An answer, also one that came after nobody waited for it any more. */
  acked(ack: AckFrame): void {
    const entry = this.#named(ack);
    if (!entry) return;
    this.#accept(entry, ack);
    if (ack.stage === "stored") this.#done(entry);
  }

  /** The definite answer to what was only accepted. */
  voided(event: MessageVoid): void {
    const entry = this.#named(event);
    if (!entry) return;
    if (event.reason === "duplicate" && event.of != null) this.#done(entry);
    else if (event.reason === "rejected") this.#fail(entry, rejected(entry.room));
  }

  /** The server's memory began anew: what was accepted above `after`, and is not stored, may be gone. */
  reopen(room: string, after: number): void {
    for (const entry of this.of(room)) {
      if (!entry.place || entry.place.seq <= after || entry.error) continue;
      entry.place = undefined;
      // They go again in their order, not each when its turn to repeat comes.
      this.#halt(entry);
      this.#save(entry);
    }
  }

  #find(clientId: string): Entry | undefined {
    return this.#entries.find((entry) => entry.clientId === clientId);
  }

  /** The entry that an event or an answer is about. */
  #named({ room, client_id }: Named): Entry | undefined {
    return this.of(room).find((entry) => entry.clientId === client_id);
  }

  #adopt(entry: Entry): boolean {
    if (entry.user !== undefined && entry.user !== (this.#user ?? this.#lastUser)) return false;
    this.#entries = [...this.#entries, entry].sort((a, b) => (a.clientId < b.clientId ? -1 : 1));
    this.#save(entry);
    return true;
  }

  /** Starts what may go: of each room the first that is not accepted, and all that only wait for storage. */
  #pump(): void {
    if (this.#user === undefined) return;
    const blocked = new Set<string>();
    for (const entry of this.#entries) {
      if (entry.error || blocked.has(entry.room)) continue;
      if (!entry.place || this.#settling.on) blocked.add(entry.room);
      if (entry.place && this.#settling.on) continue;
      if (!this.#tasks.has(entry)) void this.#run(entry);
    }
  }

  async #run(entry: Entry): Promise<void> {
    const task: Task = { ended: false };
    this.#tasks.set(entry, task);
    const alive = () => !task.ended;
    try {
      await this.#keep(entry);
      await repeat(
        { env: this.#env, connection: this.#connection },
        () => {
          if (this.#keeper?.unsure(entry.clientId)) entry.tries ||= 1;
          entry.tries++;
          return sendFrame(entry);
        },
        {
          alive,
          accepted: () => entry.place !== undefined,
          pausing: (pause) => {
            task.pause = pause;
            if (task.ended) pause.end();
          },
        },
      );
    } catch (thrown) {
      const error = asError(thrown);
      if (alive()) {
        // What has its place was accepted: a refusal is of the repetition, unless it says that it could not be written.
        if (entry.place && error.reason !== "rejected") this.#done(entry);
        else this.#fail(entry, error);
      }
    } finally {
      if (this.#tasks.get(entry) === task) this.#tasks.delete(entry);
      this.#pump();
    }
  }

  #accept(entry: Entry, at: { seq: number; id?: string; at: string }): void {
    if (entry.place && entry.place.seq === at.seq && !entry.error) return;
    entry.place = { seq: at.seq, id: at.id ?? "", at: Date.parse(at.at) || entry.at };
    entry.error = undefined;
    this.#save(entry);
    this.host?.accepted(entry);
  }

  #fail(entry: Entry, error: TidingsError): void {
    this.#halt(entry);
    entry.place = undefined;
    entry.error = error;
    this.#save(entry);
  }

  #done(entry: Entry): void {
    this.#keeper?.remove(entry.clientId);
    this.#forget(entry);
  }

  #forget(entry: Entry): void {
    this.#halt(entry);
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#tell(entry);
  }

  #halt(entry: Entry): void {
    const task = this.#tasks.get(entry);
    if (!task) return;
    task.ended = true;
    task.pause?.end();
    this.#tasks.delete(entry);
  }

  /** It is another one now: written down, and told. */
  #save(entry: Entry): void {
    entry.shown = entry.row = undefined;
    void this.#keep(entry);
    this.#tell(entry);
  }

  /** Writes it down. Until it is known who this is, it is taken for the one who was here last. */
  async #keep(entry: Entry): Promise<void> {
    await this.#keeper?.save({ ...entry, user: entry.user ?? this.#lastUser });
  }

  /** What is shown of the room is another one, and so may be what may go. */
  #tell(entry: Entry): void {
    this.#list.touch();
    this.host?.outboxChanged(entry.room);
    this.#pump();
  }
}
