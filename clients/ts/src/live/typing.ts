import type { Part } from "../part.js";
import type { LogEvent, ServerFrame } from "../protocol/frames.js";
import type { RoomImpl } from "../room/room.js";
import { cell } from "../store.js";
import { tidy } from "../tidy.js";
import { Alarm } from "../timers.js";
import type { Typing, TypingUser } from "../types.js";

/** A start is told again after so long, and is over after so long without a key, in milliseconds. */
const AGAIN_MS = 1_000;
const IDLE_MS = 2_000;

/** Who types in a room: others, and oneself. */
export class TypingPart implements Part, Typing {
  readonly #store = cell<readonly TypingUser[]>([]);
  readonly #room: RoomImpl;
  readonly #alarms = new Map<string, Alarm>();
  #started: number | undefined;
  readonly #idle: Alarm;
  readonly get = this.#store.get;
  readonly subscribe = this.#store.subscribe;

  constructor(room: RoomImpl) {
    this.#room = room;
    this.#idle = new Alarm(room.core.env.timers);
  }

  frame(frame: ServerFrame): void {
    if (frame.type === "typing:start") this.#start(frame.user, frame.expires_ms ?? IDLE_MS);
    if (frame.type === "typing:stop") this.#stop(frame.user.id);
  }

  event(event: LogEvent): void {
    if (event.type === "message:new") this.#stop(event.sender.id);
    if (event.type === "member:removed") this.#stop(event.user);
  }

  /** Nothing is known of others any more. */
  down(): void {
    for (const user of [...this.#alarms.keys()]) this.#stop(user);
    this.#idle.clear();
    this.#started = undefined;
  }

  readonly typed = (): void => {
    const { core, id } = this.#room;
    const now = core.env.timers.now();
    this.#idle.set(IDLE_MS, this.sent);
    if (this.#started !== undefined && Math.abs(now - this.#started) < AGAIN_MS) return;
    this.#started = now;
    core.connection.send({ type: "typing:start", room: id });
  };

  readonly stop = (): void => this.sent();

  /** One stopped, or sent. */
  readonly sent = (): void => {
    this.#idle.clear();
    if (this.#started === undefined) return;
    this.#started = undefined;
    this.#room.core.connection.send({ type: "typing:stop", room: this.#room.id });
  };

  /** Somebody types; forgotten after `expires` milliseconds. */
  #start(user: { readonly id: string; readonly name?: string | null }, expires: number): void {
    const { id, name } = user;
    const { me, env } = this.#room.core;
    if (id === me()?.id) return;
    const alarm = this.#alarms.get(id) ?? new Alarm(env.timers);
    alarm.set(expires, () => this.#stop(id));
    if (this.#alarms.has(id)) return;
    this.#alarms.set(id, alarm);
    this.#store.set([...this.#store.get(), tidy({ id, name: name || undefined })]);
  }

  /** Somebody does not type any more. */
  #stop(user: string): void {
    this.#alarms.get(user)?.clear();
    if (this.#alarms.delete(user)) this.#store.set(this.#store.get().filter(({ id }) => id !== user));
  }
}
