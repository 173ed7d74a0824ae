import type { Core } from "./core.js";
import { makeEnv } from "./env.js";
import { asError } from "./errors.js";
import { limiter } from "./limiter.js";
import { Connection } from "./net/connection.js";
import { Http, type HttpOptions } from "./net/http.js";
import { Tokens } from "./net/tokens.js";
import { OutboxImpl } from "./outbox/outbox.js";
import { Parts } from "./part.js";
import type { ClientFrame, ConnectedFrame, ServerFrame } from "./protocol/frames.js";
import { Rooms } from "./rooms.js";
import { type Cell, cell, listen, notify } from "./store.js";
import { tidy } from "./tidy.js";
import type {
  ClientEvents,
  ClientOptions,
  Me,
  Outbox,
  Room,
  RoomList,
  Connection as Shown,
  Store,
} from "./types.js";
import { uuidMaker } from "./uuid.js";

/** Requests about single rooms under way at one time. */
const AT_ONCE = 4;

/** One user's connection to Tidings: rooms, outbox, presence. It does nothing until `connect()`. */
export class TidingsClient {
  /** How things stand with the server. */
  readonly connection: Store<Shown>;
  /** Who one is; not there before the first connection. */
  readonly me: Store<Me | undefined> = cell<Me | undefined>(undefined);
  readonly rooms: RoomList;
  readonly outbox: Outbox;
  /** @internal */
  readonly parts: Parts<Core>;
  readonly #core: Core;
  readonly #rooms: Rooms;
  readonly #listeners: { readonly [E in keyof ClientEvents]: Set<(value: ClientEvents[E]) => void> } = {
    error: new Set(),
    event: new Set(),
    frame: new Set(),
  };

  constructor(options: ClientOptions) {
    const emit: Core["emit"] = (event, value) => notify(this.#listeners[event], value);
    const env = makeEnv(options, (thrown) => emit("error", asError(thrown)));
    const uuid = uuidMaker(() => env.timers.now());
    const tokens = new Tokens(env.token);
    const connection = new Connection(env, tokens, {
      up: (welcome) => this.#up(welcome),
      frame: (frame) => this.#frame(frame),
      down: (ended) => {
        this.#rooms.down(ended);
        this.parts.tell("down", ended);
      },
    });
    const outbox = new OutboxImpl(env, connection, uuid);
    this.#core = {
      env,
      connection,
      outbox,
      uuid,
      http: new Http(env, tokens),
      me: this.me.get,
      limit: limiter(AT_ONCE),
      emit,
    };
    this.#rooms = outbox.host = new Rooms(this.#core);
    this.parts = new Parts(this.#core);
    if (options.onError) this.on("error", options.onError);
    this.connection = connection.shown;
    this.rooms = this.#rooms;
    this.outbox = outbox;
  }

  /** Connects, and stays connected. Resolves the first time; rejects with TidingsError when it is given up. */
  connect(): Promise<void> {
    const { connection, outbox } = this.#core;
    outbox.start();
    const connected = connection.connect();
    // Rooms that were opened before show that they are loading now.
    if (!connection.up) this.#rooms.down();
    return connected;
  }

  /** Stays disconnected until `connect()`. What waits to be sent goes on waiting. */
  disconnect(): void {
    this.#core.connection.disconnect();
  }

  /** Tries now, where it waits to try again. A delay that the server asked for is kept. */
  retryNow(): void {
    this.#core.connection.retryNow();
  }

  /** Disconnects, lets go of timers and listeners, and leaves what waits to other tabs, until `connect()`. */
  close(): void {
    this.disconnect();
    this.#core.outbox.stop();
  }

  /** The room of this id, whether or not there is one: that shows once it is opened. */
  room(id: string): Room {
    return this.#rooms.room(id);
  }

  /** Sends any command. Rejects with TidingsError: the refusal, `timeout` after 5 s, or `disconnected`. */
  request(frame: { type: string; [field: string]: unknown }): Promise<ServerFrame> {
    return this.#core.connection.request(frame as ClientFrame);
  }

  /** Sends any HTTP request, `path` below /v1. Rejects with TidingsError. */
  http<T>(method: string, path: string, body?: unknown, options?: HttpOptions): Promise<T> {
    return this.#core.http.send<T>(method, path, body, options);
  }

  /** Hears of what happens; the answer stops that. */
  on<E extends keyof ClientEvents>(event: E, listener: (value: ClientEvents[E]) => void): () => void {
    return listen(this.#listeners[event], listener);
  }

  #up(welcome: ConnectedFrame): void {
    const before = this.me.get();
    if (before && before.id !== welcome.user) {
      this.#rooms.forget();
      this.parts.tell("forget");
    }
    const { user: id, name, limits } = welcome;
    (this.me as Cell<Me | undefined>).set(tidy({ id, name: name || undefined, limits }));
    // A listener may have ended it.
    if (!this.#core.connection.up) return;
    this.#rooms.up(welcome.rooms_version);
    this.#core.outbox.up(welcome.user);
    this.parts.tell("up");
  }

  #frame(frame: ServerFrame): void {
    this.#core.emit("frame", frame);
    try {
      if (frame.type === "ack") this.#core.outbox.acked(frame);
      this.parts.tell("frame", frame);
      this.#rooms.frame(frame);
    } catch (thrown) {
      // Whatever a server sends, it ends here.
      this.#core.env.report(asError(thrown, "protocol"));
    }
  }
}
