import { backoff } from "../backoff.js";
import { type Verdict, verdict } from "../closes.js";
import type { Env } from "../env.js";
import { asError, TidingsError } from "../errors.js";
import { type Happening, next, type Phase, SHOWN } from "../machine.js";
import type { ClientFrame, ConnectedFrame, ServerFrame } from "../protocol/frames.js";
import { cell, keep } from "../store.js";
import { tidy } from "../tidy.js";
import { Alarm } from "../timers.js";
import type { Polls, Connection as Shown, WebSocketConstructor } from "../types.js";
import { First } from "./first.js";
import { fits } from "./fits.js";
import { Heartbeat } from "./heartbeat.js";
import type { Link, LinkHost } from "./link.js";
import type { Listener } from "./listener.js";
import { Renewal } from "./renewal.js";
import { Requests } from "./requests.js";
import type { Tokens } from "./tokens.js";
import type { Transport, TransportHost } from "./transport.js";
import { WebSocketLink } from "./websocket.js";

/** How long it may take from the first byte to the welcome, in milliseconds. */
const WELCOME_MS = 7_000;
/** A connection that lived so long, in milliseconds, makes the pauses short again. */
const LIVED_MS = 1_000;

/** A way to a server, from the first byte on. */
interface Attempt {
  kind?: Link["kind"];
  /** The gateway, where it was asked for. */
  origin?: string;
  link?: Link;
  readonly alarm: Alarm;
}

/**
 * Keeps a link to a server for as long as the app wants one. Longer than other files: every step of the state machine
 * is here, and none is of use without the others.
 */
export class Connection implements TransportHost {
  readonly shown = cell<Shown>({ state: "disconnected", attempt: 0, draining: false, offline: false });
  readonly #env: Env;
  readonly #tokens: Tokens;
  readonly #listener: Listener;
  readonly #requests: Requests;
  /** Whether WebSocket or polls is for the kit to choose. */
  readonly #auto: boolean;
  #transport: Transport | undefined;
  readonly #renewal: Renewal;
  readonly #alarm: Alarm;
  readonly #first = new First();
  /** Whether the next attempt is a poll. */
  polling = false;
  #offline = false;
  #forget: (() => void) | undefined;
  #phase: Phase = "idle";
  #steps = 0;
  #most = Number.POSITIVE_INFINITY;
  #current: Attempt | undefined;
  #attempt: Attempt | undefined;
  #heartbeat: Heartbeat | undefined;
  #failures = 0;
  #since = 0;
  #refused = false;
  #drainedAt: number | undefined;
  #error: TidingsError | undefined;
  #retryAt = 0;
  /** The delay that the server told, and when it is over: a clock that is set back makes it no longer. */
  #told = 0;
  #notBefore = 0;

  constructor(env: Env, tokens: Tokens, listener: Listener) {
    this.#env = env;
    this.#tokens = tokens;
    this.#listener = listener;
    this.#requests = new Requests(env.timers);
    this.#alarm = new Alarm(env.timers);
    this.#auto = env.transport === "auto" && env.WebSocket !== undefined;
    this.#renewal = new Renewal(env, tokens, (token) => this.request({ type: "auth", token }));
  }

  /** It is clear which transport to use: no need to wait any longer. */
  decided(): void {
    if (this.#phase === "waiting") this.#due();
  }

  /** The node asks not to be tried again before that many milliseconds. */
  later(ms: number): void {
    this.#told = Math.max(this.#told, ms);
    this.#notBefore = Math.max(this.#notBefore, this.#env.timers.now() + ms);
    if (this.#phase === "waiting") this.#wait();
  }

  /** A WebSocket is worth a try. */
  upgrade(): void {
    if (this.#phase === "connected" && this.kind === "poll") this.#move();
  }

  /** Which kind of link there is; none while frames cannot be sent. */
  get kind(): Link["kind"] | undefined {
    return this.#current?.link?.kind;
  }

  /** Whether frames can be sent. */
  get up(): boolean {
    return this.#current !== undefined;
  }

  /** Resolves when connected, rejects when that is given up. */
  connect(): Promise<void> {
    if (this.up) return Promise.resolve();
    const { promise } = this.#first;
    if (SHOWN[this.#phase] === "disconnected") {
      const { lifecycle } = this.#env;
      this.#offline = !lifecycle.online();
      this.#forget = lifecycle.subscribe((event) => {
        if (event === "online" || event === "offline") this.#offline = event === "offline";
        // Somebody looks, or there is a network again: worth a try.
        if (event === "online" || event === "visible") this.retryNow();
        this.#show();
      });
      this.#refused = false;
      this.#error = undefined;
      if (this.#go("connect")) void this.#open();
    }
    return promise;
  }

  /** Resolves as soon as there is a connection, however often it is given up before. */
  async whenUp(): Promise<void> {
    while (!this.up) await this.#first.promise.catch(() => {});
  }

  disconnect(): void {
    this.#end("disconnect", new TidingsError("closed"));
  }

  /** Does not wait any longer; on a connection: asks whether it still is one. */
  retryNow(): void {
    if (this.#phase === "waiting") {
      // What the server asked for is waited for all the same.
      this.#retryAt = 0;
      this.#wait();
    } else this.#heartbeat?.probe();
  }

  /** Sends without waiting for an answer. Nothing happens while there is no connection. Throws TidingsError. */
  send(frame: ClientFrame): void {
    const link = this.#current?.link;
    if (!link) return;
    fits(frame, this.#most);
    link.send(frame);
  }

  /** Sends, and waits for the answer. Rejects with TidingsError. */
  async request(frame: ClientFrame): Promise<ServerFrame> {
    if (!this.up) throw new TidingsError("disconnected");
    try {
      return await this.#requests.ask((ref) => this.send({ ...frame, ref }));
    } catch (thrown) {
      // An answer that does not come may be the first sign that nobody is there.
      if (asError(thrown).code === "timeout") this.#heartbeat?.probe();
      throw thrown;
    }
  }

  /** False where a listener has gone on from there: then what belongs to this step is not to be done. */
  #go(happening: Happening): boolean {
    this.#phase = next(this.#phase, happening);
    const step = ++this.#steps;
    this.#show();
    return step === this.#steps;
  }

  #show(): void {
    const { up } = this;
    keep(
      this.shown,
      tidy({
        state: SHOWN[this.#phase],
        transport: this.kind,
        attempt: up ? 0 : this.#failures,
        retryAt: this.#phase === "waiting" ? this.#retryAt : undefined,
        error: up ? undefined : this.#error,
        draining: this.#drainedAt !== undefined,
        offline: this.#offline,
      }),
    );
  }

  /** Opens a link beside the one there may be. */
  async #open(): Promise<void> {
    const env = this.#env;
    const attempt: Attempt = { alarm: new Alarm(env.timers) };
    this.#attempt = attempt;
    const closed: LinkHost["closed"] = (code, reason, told) => this.#closed(attempt, code, reason, told);
    const host: LinkHost = {
      frame: (frame) => this.#frame(attempt, frame),
      closed,
      websocket: (worth) => {
        if (this.#auto) this.#transport?.hint(worth);
      },
    };
    try {
      let kind = env.transport;
      if (kind === "auto")
        kind = !env.WebSocket || (this.polling && this.#phase !== "moving") ? "poll" : "websocket";
      if (kind === "websocket" && !env.WebSocket) throw new TidingsError("protocol", "no WebSocket");
      attempt.alarm.set(WELCOME_MS, () => closed(1006, "no answer"));
      const token = await this.#tokens.renew();
      // Polls ask for their own, each time: a function may give one node after the other.
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

  /** What polls, and chooses when to. Rejects where it cannot be loaded. */
  async #polls(): Promise<Polls> {
    const polls = await this.#env.polls();
    this.#transport ??= new polls.Transport(this.#env, this);
    return polls;
  }

  #frame(attempt: Attempt, frame: ServerFrame | undefined): void {
    const env = this.#env;
    if (this.#current === attempt) this.#heartbeat?.heard();
    if (!frame) {
      env.report(new TidingsError("protocol"));
      return;
    }
    if (this.#attempt === attempt && frame.type === "connected") this.#opened(attempt, frame);
    if (this.#current !== attempt) return;
    if (frame.type === "draining") this.#drain(frame.reconnect_after_ms);
    if (frame.type === "auth:ok") this.#renewal.until(frame.expires_at);
    this.#listener.frame(frame);
    if (frame.type === "connected" && this.#current === attempt) this.#listener.up(frame);
    this.#requests.answer(frame);
  }

  #opened(attempt: Attempt, { heartbeat_ms, expires_at, server_time, limits }: ConnectedFrame): void {
    const { timers } = this.#env;
    if (this.up) {
      this.#drop();
      this.#listener.down();
      // A listener may have ended it all.
      if (this.#attempt !== attempt) return;
    }
    attempt.alarm.clear();
    this.#alarm.clear();
    this.#attempt = undefined;
    this.#current = attempt;
    this.#since = timers.now();
    this.#refused = false;
    this.#most = limits.max_frame_bytes || Number.POSITIVE_INFINITY;
    if (heartbeat_ms > 0) {
      this.#heartbeat = new Heartbeat(
        timers,
        heartbeat_ms,
        () => this.send({ type: "ping" }),
        () => this.#closed(attempt, 1006, "no answer"),
      );
    }
    if (expires_at) this.#renewal.until(expires_at, server_time);
    this.polling = this.kind === "poll";
    this.#transport?.opened();
    this.#first.settle();
    this.#go("opened");
  }

  /** Lets go of the link there is. */
  #drop(): void {
    const link = this.#current?.link;
    this.#current = undefined;
    this.#drainedAt = undefined;
    this.#heartbeat?.stop();
    this.#heartbeat = undefined;
    this.#renewal.stop();
    this.#alarm.clear();
    link?.close();
    this.#requests.drop();
  }

  #drain(delay: number): void {
    if (this.#drainedAt !== undefined) return;
    this.#drainedAt = this.#env.timers.now() + delay;
    this.#go("drain");
    if (this.#phase === "draining") this.#alarm.set(delay, () => this.#move());
  }

  /** Looks for another link while the one there is goes on. */
  #move(): void {
    if (this.#go("move")) void this.#open();
  }

  #closed(attempt: Attempt, code: number, reason: string, told?: TidingsError): void {
    const end = verdict(code, reason, told);
    if (this.#current === attempt) this.#lost(end);
    if (this.#attempt !== attempt) return;
    this.#attempt = undefined;
    attempt.alarm.clear();
    attempt.link?.close();
    const { kind, origin = "" } = attempt;
    if (this.#auto && kind && (this.#transport || code === 1006)) {
      // What cannot be loaded now will be at the next failure.
      this.#polls().then(
        () => this.#transport?.failed(kind, code, origin),
        () => {},
      );
    }
    // A way that leads nowhere harms nothing while the old one is there.
    if (this.#phase === "moving") {
      if (this.#go("stay") && this.#drainedAt !== undefined) {
        this.#alarm.set(backoff(++this.#failures, this.#env.random), () => this.#move());
      }
      return;
    }
    this.#failures++;
    this.#after(end);
  }

  #lost(end: Verdict): void {
    const now = this.#env.timers.now();
    const rest = this.#drainedAt === undefined ? undefined : Math.max(0, this.#drainedAt - now);
    // The pauses go on growing where one is let in only to be thrown out again.
    const lived = now - this.#since >= LIVED_MS;
    this.#failures = lived ? 1 : this.#failures + 1;
    // A new token helps at once only where the old one did for a while.
    if (end.way === "token" && !lived) end = { ...end, way: "retry" };
    this.#drop();
    this.#error = end.error;
    // The attempt under way is the next one, whatever the old link says, unless it says to stop.
    if (this.#phase === "moving" && end.way !== "stop") this.#go("lost");
    else this.#after(end, rest);
    this.#listener.down();
  }

  /** Goes on as told. `exactly`: the delay that the node told, which needs no jitter. */
  #after({ way, error }: Verdict, exactly?: number): void {
    const { timers, random } = this.#env;
    this.#error = error;
    const again = way === "token" && this.#refused;
    if (again || way === "stop" || (way === "poll" && !this.#auto)) {
      this.#end("fatal", error);
      this.#env.report(error);
      return;
    }
    if (way === "poll") this.polling = true;
    this.#refused = way === "token";
    this.#told = Math.max(exactly ?? 0, error.retryAfterMs ?? 0);
    const pause = way === "retry" && exactly === undefined ? backoff(this.#failures, random) : 0;
    this.#notBefore = timers.now() + this.#told;
    this.#retryAt = this.#notBefore + pause;
    if (this.#go("lost")) this.#wait();
  }

  #wait(): void {
    const now = this.#env.timers.now();
    this.#retryAt = Math.max(this.#retryAt, Math.min(this.#notBefore, now + this.#told), now);
    this.#alarm.set(this.#retryAt - now, () => this.#due());
    this.#show();
  }

  #due(): void {
    this.#alarm.clear();
    if (this.#go("due")) void this.#open();
  }

  /** Not connected any more until the app says so. */
  #end(happening: "fatal" | "disconnect", error: TidingsError): void {
    this.#drop();
    this.#attempt?.alarm.clear();
    this.#attempt?.link?.close();
    this.#attempt = undefined;
    this.#transport?.stop();
    this.polling = false;
    this.#forget?.();
    this.#forget = undefined;
    this.#failures = 0;
    this.#error = happening === "fatal" ? error : undefined;
    this.#first.settle(error);
    this.#go(happening);
    this.#listener.down(error);
  }
}
