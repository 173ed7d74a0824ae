import type { Core } from "./core.js";
import { makeEnv } from "./env.js";
import { asError } from "./errors.js";
import { Features } from "./feature.js";
import { createLimiter } from "./limiter.js";
import { ServerConnection } from "./net/connection.js";
import { abortable, createHttp, type HttpOptions } from "./net/http.js";
import { createTokens } from "./net/tokens.js";
import { omitNullish } from "./omit-nullish.js";
import { OutboxImpl } from "./outbox/outbox.js";
import { OwnPresence } from "./own-presence.js";
import type { ClientFrame, ConnectedFrame, ServerFrame } from "./protocol/frames.js";
import { Rooms } from "./rooms.js";
import { addListener, type Cell, cell, notify } from "./store.js";
import type { ClientEvents, ClientOptions, Connection, Me, Outbox, Room, RoomList, Store } from "./types.js";
import { createUuidGenerator } from "./uuid.js";

/** The most HTTP requests about single rooms that run at the same time. */
const MAX_CONCURRENT_ROOM_REQUESTS = 4;

/** The client of one user, with its connection, rooms and outbox. Only `connect()` opens the connection. */
export class TidingsClient {
  /** The state of the connection. */
  readonly connection: Store<Connection>;
  /** The current user; undefined before the first connection, unless `keepOffline` has restored the user. */
  readonly me: Store<Me | undefined> = cell<Me | undefined>(undefined);
  readonly rooms: RoomList;
  readonly outbox: Outbox;
  /** @internal */
  readonly features: Features<Core>;
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
    const tokens = createTokens(env, (error) => connection.signedOut(error));
    const connection: ServerConnection = new ServerConnection(env, tokens, {
      up: (connected) => this.#up(connected),
      frame: (frame) => this.#frame(frame),
      down: (ended) => {
        if (ended) this.#core.ownPresence.ended();
        this.#rooms.down(ended);
        this.features.callHook("down", ended);
      },
    });
    const outbox = new OutboxImpl(
      env,
      connection,
      createUuidGenerator(() => env.timers.now()),
    );
    this.#core = {
      env,
      connection,
      outbox,
      ownPresence: new OwnPresence(env, connection),
      http: createHttp(env, tokens),
      tokens,
      me: this.me.get,
      limit: createLimiter(MAX_CONCURRENT_ROOM_REQUESTS),
      emit,
    };
    this.#rooms = outbox.rooms = new Rooms(this.#core);
    this.features = new Features(this.#core);
    if (options.onError) this.on("error", options.onError);
    this.connection = connection.status;
    this.rooms = this.#rooms.list;
    this.outbox = outbox;
  }

  /**
   * Connects, and reconnects when the connection is lost. Resolves once the client is connected. Rejects with
   * TidingsError when the kit stops trying.
   */
  connect(): Promise<void> {
    const { connection, outbox } = this.#core;
    outbox.start();
    const connected = connection.connect();
    // Rooms that are already open must show `loading` while the client connects.
    if (!connection.up) this.#rooms.down();
    return connected;
  }

  /** Disconnects until `connect()` is called again. Unsent messages stay in the outbox. */
  disconnect(): void {
    this.#core.connection.disconnect();
  }

  /** Ends the pause before the next attempt to connect. A delay that the server asked for still applies. */
  retryNow(): void {
    this.#core.connection.retryNow();
  }

  /**
   * Disconnects until `connect()` is called again, removes the timers and the listeners on the page, closes released
   * rooms, and releases unsent messages to other tabs.
   */
  close(): void {
    this.disconnect();
    this.#core.outbox.stop();
    this.#rooms.close();
  }

  /**
   * Returns the room with this id, without a request to the server. A room that does not exist gets the phase `removed`
   * when it is opened.
   */
  room(id: string): Room {
    return this.#rooms.room(id);
  }

  /**
   * Sends any frame and returns the answer. Rejects with TidingsError: the error of the server, `disconnected`,
   * `timeout` after 5 s, or `closed` when `signal` aborts the request.
   */
  request(
    frame: { type: string; [field: string]: unknown },
    { signal }: HttpOptions = {},
  ): Promise<ServerFrame> {
    return abortable(this.#core.connection.request(frame as ClientFrame), signal);
  }

  /** Sends any HTTP request. `path` is the part after `/v1`, such as `/me/rooms`. Rejects with TidingsError. */
  http<T>(method: string, path: string, body?: unknown, options?: HttpOptions): Promise<T> {
    return this.#core.http<T>(method, path, body, options);
  }

  /** Adds a listener. Returns a function that removes it. */
  on<E extends keyof ClientEvents>(event: E, listener: (value: ClientEvents[E]) => void): () => void {
    return addListener(this.#listeners[event], listener);
  }

  #up(connected: ConnectedFrame): void {
    const before = this.me.get();
    if (before && before.id !== connected.user) {
      this.#core.ownPresence.userChanged();
      this.#rooms.userChanged();
      this.features.callHook("userChanged");
    }
    const { user: id, name, limits } = connected;
    const { max_message_chars, max_frame_bytes, messages_per_second } = limits;
    (this.me as Cell<Me | undefined>).set(
      omitNullish({
        id,
        name: name || undefined,
        limits: {
          maxMessageChars: max_message_chars,
          maxFrameBytes: max_frame_bytes,
          messagesPerSecond: messages_per_second,
        },
      }),
    );
    // Stops here if a listener of `me` has disconnected the client.
    if (!this.#core.connection.up) return;
    this.#rooms.up(connected.rooms_version, connected.spread_ms);
    this.#core.outbox.up(connected.user);
    // A listener of a room or of the outbox may have closed the client too.
    if (!this.#core.connection.up) return;
    this.#core.ownPresence.up();
    this.features.callHook("up");
  }

  #frame(frame: ServerFrame): void {
    this.#core.emit("frame", frame);
    try {
      if (frame.type === "ack") this.#core.outbox.received(frame);
      this.features.callHook("frame", frame);
      this.#rooms.handleFrame(frame);
    } catch (thrown) {
      // Malformed input from a server must not break the connection.
      this.#core.env.report(asError(thrown, "protocol"));
    }
  }
}
