import type { Feature } from "../feature.js";
import { omitNullish } from "../omit-nullish.js";
import { hasShape } from "../protocol/check.js";
import type { LogEvent, ServerFrame } from "../protocol/frames.js";
import type { RoomImpl } from "../room/room.js";
import { cell } from "../store.js";
import { Timer } from "../timers.js";
import type { Typing, TypingUser } from "../types.js";

/**
 * How long after a `typing:start` the next one is sent while the user types, and how long after the last key press
 * `typing:stop` is sent, in milliseconds.
 */
const START_REPEAT_MS = 1_000;
const STOP_AFTER_IDLE_MS = 2_000;

/** The users who are typing in a room, and the typing state of the current user. */
export class TypingFeature implements Feature, Typing {
  readonly #store = cell<readonly TypingUser[]>([]);
  readonly #room: RoomImpl;
  readonly #userTimers = new Map<string, Timer>();
  #startSentAt: number | undefined;
  readonly #idleTimer: Timer;
  readonly get = this.#store.get;
  readonly subscribe = this.#store.subscribe;

  constructor(room: RoomImpl) {
    this.#room = room;
    this.#idleTimer = new Timer(room.core.env.timers);
  }

  frame(frame: ServerFrame): void {
    if (!hasShape(frame, "user:u expires_ms?:n")) return;
    if (frame.type === "typing:start") this.#start(frame.user, frame.expires_ms ?? STOP_AFTER_IDLE_MS);
    if (frame.type === "typing:stop") this.#stop(frame.user.id);
  }

  event(event: LogEvent): void {
    if (event.type === "message:new") this.#stop(event.sender.id);
    if (event.type === "member:removed") this.#stop(event.user);
  }

  /** Shows nobody as typing while disconnected, because the client then misses `typing:stop`. */
  down(): void {
    for (const user of [...this.#userTimers.keys()]) this.#stop(user);
    this.#idleTimer.clear();
    this.#startSentAt = undefined;
  }

  readonly typed = (): void => {
    const { core, id } = this.#room;
    const now = core.env.timers.now();
    this.#idleTimer.set(STOP_AFTER_IDLE_MS, this.messageSent);
    if (this.#startSentAt !== undefined && Math.abs(now - this.#startSentAt) < START_REPEAT_MS) return;
    this.#startSentAt = now;
    core.connection.send({ type: "typing:start", room: id });
  };

  readonly stop = (): void => this.messageSent();

  /** Sends `typing:stop`, because the user stopped typing or sent a message. */
  readonly messageSent = (): void => {
    this.#idleTimer.clear();
    if (this.#startSentAt === undefined) return;
    this.#startSentAt = undefined;
    this.#room.core.connection.send({ type: "typing:stop", room: this.#room.id });
  };

  /** Shows a user as typing for `expires` milliseconds, or until the user stops. */
  #start(user: { readonly id: string; readonly name?: string | null }, ms: number): void {
    const { id, name } = user;
    const { me, env } = this.#room.core;
    if (id === me()?.id) return;
    const timer = this.#userTimers.get(id) ?? new Timer(env.timers);
    timer.set(ms, () => this.#stop(id));
    if (this.#userTimers.has(id)) return;
    this.#userTimers.set(id, timer);
    this.#store.set([...this.#store.get(), omitNullish({ id, name: name || undefined })]);
  }

  /** Shows a user as not typing. */
  #stop(user: string): void {
    this.#userTimers.get(user)?.clear();
    if (this.#userTimers.delete(user)) this.#store.set(this.#store.get().filter(({ id }) => id !== user));
  }
}
