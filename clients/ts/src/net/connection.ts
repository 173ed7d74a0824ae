import { backoffMs } from "../backoff.js";
import { type CloseReaction, interpretClose } from "../close-codes.js";
import type { Env } from "../env.js";
import { asError, defaultMessage, TidingsError } from "../errors.js";
import { type ConnectionPhase, PUBLIC_STATES } from "../machine.js";
import { omitNullish } from "../omit-nullish.js";
import type { ClientFrame, ConnectedFrame, ServerFrame } from "../protocol/frames.js";
import { cell, setIfChanged } from "../store.js";
import { Timer } from "../timers.js";
import type { Connection, Polls, WebSocketConstructor } from "../types.js";
import { ConnectedPromise } from "./connected-promise.js";
import { checkFrameSize } from "./frame-size.js";
import { createHeartbeat } from "./heartbeat.js";
import type { Link, LinkHost } from "./link.js";
import { createRequests } from "./requests.js";
import { createTokenRenewal } from "./token-renewal.js";
import type { Tokens } from "./tokens.js";
import type { Transport } from "./transport.js";
import { WebSocketLink } from "./websocket.js";

/** The time limit from the start of an attempt to its `connected` frame, in milliseconds. */
const CONNECT_TIMEOUT_MS = 7_000;
/** A connection that lasted at least this long, in milliseconds, makes the pauses between attempts short again. */
const MIN_STABLE_MS = 1_000;

const NO_ANSWER_MESSAGE = defaultMessage("timeout");
const NO_WEBSOCKET_MESSAGE = "No WebSocket: give the option WebSocket, or allow polls";

/** Receives the frames, and is called when the connection opens and ends. */
interface ConnectionListener {
  /** Called when the client has connected. All state of an earlier connection is then invalid. */
  up(frame: ConnectedFrame): void;
  frame(frame: ServerFrame): void;
  /**
   * Called when the link was lost, or when a new link replaces the old one. `ended` is set if the kit will not
   * reconnect by itself.
   */
  down(ended?: TidingsError): void;
}

/** An attempt to open a link (a WebSocket or polls), and later the link that it has opened. */
interface Attempt {
  kind?: "websocket" | "poll";
  /** The origin of the gateway; empty for polls. */
  origin?: string;
  link?: Link;
  /** The token with which the link was opened, or a newer one that the server has accepted. */
  token?: string;
  readonly timer: Timer;
}

/**
 * Keeps a link to a server open from `connect()` to `disconnect()` or a fatal error. The file is long because all
 * steps of the state machine are in it.
 */
export class ServerConnection {
  readonly status = cell<Connection>({
    state: "disconnected",
    attempt: 0,
    draining: false,
    offline: false,
  });
  readonly #env: Env;
  readonly #tokens: Tokens;
  readonly #listener: ConnectionListener;
  readonly #requests: ReturnType<typeof createRequests>;
  /** Whether the kit chooses between WebSocket and polls. */
  readonly #auto: boolean;
  #transport: Transport | undefined;
  readonly #renewal: ReturnType<typeof createTokenRenewal>;
  readonly #timer: Timer;
  readonly #connected = new ConnectedPromise();
  /** Whether the next attempt uses polls. */
  polling = false;
  #offline = false;
  #unsubscribe: (() => void) | undefined;
  #phase: ConnectionPhase = "idle";
  #transitions = 0;
  #maxFrameBytes = Number.POSITIVE_INFINITY;
  #current: Attempt | undefined;
  #attempt: Attempt | undefined;
  #heartbeat: ReturnType<typeof createHeartbeat> | undefined;
  #failures = 0;
  #connectedAt = 0;
  #tokenRefused = false;
  #drainedAt: number | undefined;
  #error: TidingsError | undefined;
  #retryAt = 0;
  /**
   * The delay that the server asked for, in milliseconds, and the time when it ends. Both are kept, so that the wait is
   * never longer than the delay, even if the clock of the device is set back.
   */
  #serverDelay = 0;
  #notBefore = 0;

  constructor(env: Env, tokens: Tokens, listener: ConnectionListener) {
    this.#env = env;
    this.#tokens = tokens;
    this.#listener = listener;
    this.#requests = createRequests(env.timers);
    this.#timer = new Timer(env.timers);
    this.#auto = env.transport === "auto" && env.WebSocket !== undefined;
    this.#renewal = createTokenRenewal(env, tokens, async (token) => {
      await this.request({ type: "auth", token });
      if (this.#current) this.#current.token = token;
    });
  }

  /** Delays the next attempt by at least `ms` milliseconds, because the node asked for this. */
  retryAfter(ms: number): void {
    this.#serverDelay = Math.max(this.#serverDelay, ms);
    this.#notBefore = Math.max(this.#notBefore, this.#env.timers.now() + ms);
    if (this.#phase === "waiting") this.#wait();
  }

  /** Tries to open a WebSocket in place of polls. The polls continue until the WebSocket is open. */
  upgrade(): void {
    if (this.#phase === "connected" && this.kind === "poll") this.#move();
  }

  /** The kind of the current link; undefined while disconnected. */
  get kind(): Attempt["kind"] {
    return this.#current?.kind;
  }

  /** Whether a link is open. */
  get up(): boolean {
    return this.#current !== undefined;
  }

  /** Resolves when connected. Rejects when the kit gives up. */
  connect(): Promise<void> {
    if (this.up) return Promise.resolve();
    const { promise } = this.#connected;
    if (PUBLIC_STATES[this.#phase] === "disconnected") {
      const { lifecycle } = this.#env;
      this.#offline = !lifecycle.online();
      this.#unsubscribe = lifecycle.subscribe((event) => {
        if (event === "online" || event === "offline") this.#offline = event === "offline";
        // The user looks at the app or the network is back, so an attempt may succeed.
        if (event === "online" || event === "visible") this.retryNow();
        this.#updateStatus();
      });
      this.#tokenRefused = false;
      this.#error = undefined;
      if (this.#transition("connecting")) void this.#open();
    }
    return promise;
  }

  /**
   * Resolves once the client is connected. Never rejects: after the kit has given up, it waits for the next
   * `connect()`.
   */
  async whenUp(): Promise<void> {
    while (!this.up) await this.#connected.promise.catch(() => {});
  }

  disconnect(): void {
    this.#stop("idle", new TidingsError("closed"));
  }

  /** Stops until the app connects again, because the app says that the user is signed out. */
  signedOut(error: TidingsError): void {
    if (PUBLIC_STATES[this.#phase] !== "disconnected") this.#stop("stopped", error);
  }

  /** Ends the pause before the next attempt. While connected, sends a ping to test the link. */
  retryNow(): void {
    if (this.#phase === "waiting") {
      // A delay that the server asked for still applies.
      this.#retryAt = 0;
      this.#wait();
    } else this.#heartbeat?.probe();
  }

  /** Sends a frame without waiting for an answer. Does nothing while disconnected. Throws TidingsError. */
  send(frame: ClientFrame): void {
    const link = this.#current?.link;
    if (!link) return;
    checkFrameSize(frame, this.#maxFrameBytes);
    link.send(frame);
  }

  /** Sends a frame, with a unique `ref`, and waits for the answer. Rejects with TidingsError. */
  async request(frame: ClientFrame, ref?: string): Promise<ServerFrame> {
    if (!this.up) throw new TidingsError("disconnected");
    try {
      return await this.#requests.send((ref) => this.send({ ...frame, ref }), ref);
    } catch (thrown) {
      // A missing answer may mean that the link is dead.
      if (asError(thrown).code === "timeout") this.#heartbeat?.probe();
      throw thrown;
    }
  }

  /** Changes the phase. Returns false if a listener has changed the phase again; the caller must then stop. */
  #transition(to: ConnectionPhase): boolean {
    const from = this.#phase;
    this.#phase = to;
    this.#env.debug?.(omitNullish({ type: "step", from, to, error: this.#error } as const));
    const step = ++this.#transitions;
    this.#updateStatus();
    return step === this.#transitions;
  }

  #updateStatus(): void {
    const { up } = this;
    setIfChanged(
      this.status,
      omitNullish({
        state: PUBLIC_STATES[this.#phase],
        transport: this.kind,
        attempt: up ? 0 : this.#failures,
        retryAt: this.#phase === "waiting" ? this.#retryAt : undefined,
        error: up ? undefined : this.#error,
        draining: this.#drainedAt !== undefined,
        offline: this.#offline,
      }),
    );
  }

  /** Opens a link; the current link, if any, stays open. */
  async #open(): Promise<void> {
    const env = this.#env;
    const attempt: Attempt = { timer: new Timer(env.timers) };
    this.#attempt = attempt;
    const closed: LinkHost["closed"] = (code, reason, serverError) =>
      this.#closed(attempt, code, reason, serverError);
    const host: LinkHost = {
      frame: (frame) => this.#frame(attempt, frame),
      sent: (frame) =>
        // Logs must not contain tokens.
        env.debug?.({ type: "sent", frame: frame.type === "auth" ? { ...frame, token: "…" } : frame }),
      closed,
      hint: (worthTrying) => {
        if (this.#auto) this.#transport?.hint(worthTrying);
      },
    };
    try {
      let kind = env.transport;
      if (kind === "auto")
        kind = !env.WebSocket || (this.polling && this.#phase !== "moving") ? "poll" : "websocket";
      if (kind === "websocket" && !env.WebSocket) throw new TidingsError("protocol", NO_WEBSOCKET_MESSAGE);
      attempt.timer.set(CONNECT_TIMEOUT_MS, () => closed(1006, NO_ANSWER_MESSAGE));
      const token = await this.#tokens.get();
      attempt.token = token;
      // A link of polls asks the app for the origin before each poll, because the app may name another node each time.
      const polls = kind === "poll" ? await this.#polls() : undefined;
      const origin = polls ? "" : await env.gateway();
      if (this.#attempt !== attempt) return;
      attempt.kind = kind;
      attempt.origin = origin;
      attempt.link = polls
        ? new polls.PollLink(env, this.#tokens, host)
        : new WebSocketLink(env.WebSocket as WebSocketConstructor, origin, token, host);
    } catch (thrown) {
      const error = asError(thrown);
      closed(error.code === "protocol" ? 1002 : 1006, error.message, error);
    }
  }

  /** Loads the module of the polls and creates its `Transport`. Rejects when the load fails. */
  async #polls(): Promise<Polls> {
    const polls = await this.#env.polls();
    this.#transport ??= new polls.Transport(this.#env, this);
    return polls;
  }

  #frame(attempt: Attempt, frame: ServerFrame | undefined): void {
    const env = this.#env;
    if (this.#current === attempt) this.#heartbeat?.received();
    env.debug?.({ type: "received", frame });
    if (!frame) {
      env.report(new TidingsError("protocol"));
      return;
    }
    if (this.#attempt === attempt && frame.type === "connected") this.#opened(attempt, frame);
    if (this.#current !== attempt) return;
    if (frame.type === "draining") this.#drain(frame.reconnect_after_ms);
    if (frame.type === "auth:ok") this.#renewal.start(frame.expires_at);
    this.#listener.frame(frame);
    if (frame.type === "connected" && this.#current === attempt) this.#listener.up(frame);
    this.#requests.answer(frame);
  }

  #opened(attempt: Attempt, { heartbeat_ms, expires_at, server_time, limits }: ConnectedFrame): void {
    const { timers } = this.#env;
    if (this.up) {
      this.#dropLink();
      this.#listener.down();
      // Stops here if a listener has disconnected the client.
      if (this.#attempt !== attempt) return;
    }
    attempt.timer.clear();
    this.#timer.clear();
    this.#attempt = undefined;
    this.#current = attempt;
    this.#connectedAt = timers.now();
    this.#tokenRefused = false;
    this.#maxFrameBytes = limits.max_frame_bytes || Number.POSITIVE_INFINITY;
    if (heartbeat_ms > 0) {
      this.#heartbeat = createHeartbeat(
        timers,
        heartbeat_ms,
        () => this.send({ type: "ping" }),
        () => this.#closed(attempt, 1006, NO_ANSWER_MESSAGE),
      );
    }
    if (expires_at) this.#renewal.start(expires_at, server_time);
    this.polling = this.kind === "poll";
    this.#transport?.opened();
    this.#connected.settle();
    this.#transition("connected");
  }

  /** Closes the current link and fails its pending requests. */
  #dropLink(): void {
    const link = this.#current?.link;
    this.#current = undefined;
    this.#drainedAt = undefined;
    this.#heartbeat?.stop();
    this.#heartbeat = undefined;
    this.#renewal.stop();
    this.#timer.clear();
    link?.close();
    this.#requests.close();
  }

  #drain(delay: number): void {
    if (this.#drainedAt !== undefined) return;
    this.#drainedAt = this.#env.timers.now() + delay;
    this.#transition(this.#phase === "moving" ? "moving" : "draining");
    if (this.#phase === "draining") this.#timer.set(delay, () => this.#move());
  }

  /** Opens another link while the current one continues. */
  #move(): void {
    if (this.#transition("moving")) void this.#open();
  }

  #closed(attempt: Attempt, code: number, reason: string, serverError?: TidingsError): void {
    const reaction = interpretClose(code, reason, serverError);
    if (reaction.action === "token") this.#tokens.refuse(reaction.error, attempt.token);
    if (this.#current === attempt) this.#linkLost(reaction);
    if (this.#attempt !== attempt) return;
    this.#attempt = undefined;
    attempt.timer.clear();
    attempt.link?.close();
    const { kind, origin = "" } = attempt;
    if (this.#auto && kind && (this.#transport || code === 1006)) {
      // If the module of the polls cannot be loaded, the next failed attempt loads it again.
      this.#polls().then(
        () => this.#transport?.failed(kind, code, origin),
        () => {},
      );
    }
    // The old link still works, so another attempt is needed only if its node is stopping.
    if (this.#phase === "moving") {
      if (this.#transition("connected") && this.#drainedAt !== undefined) {
        this.#timer.set(backoffMs(++this.#failures, this.#env.random), () => this.#move());
      }
      return;
    }
    this.#failures++;
    this.#handleClose(reaction);
  }

  #linkLost(reaction: CloseReaction): void {
    const now = this.#env.timers.now();
    const drainTimeLeft = this.#drainedAt === undefined ? undefined : Math.max(0, this.#drainedAt - now);
    // If connections keep ending soon after they opened, the pauses must keep growing.
    const wasStable = now - this.#connectedAt >= MIN_STABLE_MS;
    this.#failures = wasStable ? 1 : this.#failures + 1;
    // The kit replaces a refused token without a pause. But it pauses after a short connection, to prevent a fast loop.
    if (reaction.action === "token" && !wasStable) reaction = { ...reaction, action: "retry" };
    this.#dropLink();
    this.#error = reaction.error;
    // A running attempt continues as the reconnect attempt, unless the close code forbids a reconnect.
    if (this.#phase === "moving" && reaction.action !== "stop") this.#transition("retrying");
    else this.#handleClose(reaction, drainTimeLeft);
    this.#listener.down();
  }

  /**
   * Plans the next attempt, or stops until the app connects again. `exactDelay` is the remaining time, in milliseconds,
   * of the delay that a stopping node asked for. It replaces the random pause.
   */
  #handleClose({ action, error }: CloseReaction, exactDelay?: number): void {
    const { timers, random } = this.#env;
    this.#error = error;
    const refusedTwice = action === "token" && this.#tokenRefused;
    if (refusedTwice || action === "stop" || (action === "poll" && !this.#auto)) {
      this.#stop("stopped", error);
      this.#env.report(error);
      return;
    }
    if (action === "poll") this.polling = true;
    this.#tokenRefused = action === "token";
    this.#serverDelay = Math.max(exactDelay ?? 0, error.retryAfterMs ?? 0);
    const pause = action === "retry" && exactDelay === undefined ? backoffMs(this.#failures, random) : 0;
    this.#notBefore = timers.now() + this.#serverDelay;
    this.#retryAt = this.#notBefore + pause;
    if (this.#transition("waiting")) this.#wait();
  }

  #wait(): void {
    const now = this.#env.timers.now();
    this.#retryAt = Math.max(this.#retryAt, Math.min(this.#notBefore, now + this.#serverDelay), now);
    this.#timer.set(this.#retryAt - now, () => this.#retry());
    this.#updateStatus();
  }

  #retry(): void {
    this.#timer.clear();
    if (this.#transition("retrying")) void this.#open();
  }

  /** Disconnects until the app connects again. */
  #stop(phase: "idle" | "stopped", error: TidingsError): void {
    this.#dropLink();
    this.#attempt?.timer.clear();
    this.#attempt?.link?.close();
    this.#attempt = undefined;
    this.#transport?.stop();
    this.#tokens.clear();
    this.polling = false;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#failures = 0;
    this.#error = phase === "stopped" ? error : undefined;
    this.#connected.settle(error);
    this.#transition(phase);
    this.#listener.down(error);
  }
}
