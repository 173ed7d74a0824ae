import type { TidingsError } from "./errors.js";
import type { LogEvent, ServerFrame } from "./protocol/frames.js";

/** An optional feature of a client or a room, created at its first use. From then on its hooks are called. */
export interface Feature {
  /** Called when the client has connected or reconnected. */
  up?(): void;
  /**
   * Called with every frame. A feature of a room gets only frames that name the room, without log events,
   * `room:caught_up` and `room:gap`.
   */
  frame?(frame: ServerFrame): void;
  /** Called with each event of the room's log, after the messages of the room were updated. */
  event?(event: LogEvent): void;
  /** Called when the room was joined, or when a new epoch (lifetime of the server's Redis data) began. */
  joined?(): void;
  /** Called when the room has skipped events. They are never passed to `event`. */
  missed?(): void;
  /** Called with the seq up to which the room has received the events of its log. */
  cursorMoved?(seq: number): void;
  /** Called when the current user sends a message. */
  messageSent?(): void;
  /** Called when the connection or the room was lost. `ended` is set if the kit will not reconnect by itself. */
  down?(ended?: TidingsError): void;
  /** Called when the room closes, which is a few seconds after the app has released it. */
  closed?(): void;
  /** Called when another user has connected. The feature must drop all state of the earlier user. */
  userChanged?(): void;
}

/** The features that one client or one room uses. */
export class Features<H> {
  readonly #host: H;
  readonly #features = new Map<unknown, Feature>();

  constructor(host: H) {
    this.#host = host;
  }

  /** Whether no feature was used yet. */
  get unused(): boolean {
    return this.#features.size === 0;
  }

  /** Returns the feature of this class, the same object each time. */
  of<P extends Feature>(FeatureClass: new (host: H) => P): P {
    let feature = this.#features.get(FeatureClass);
    if (!feature) {
      feature = new FeatureClass(this.#host);
      this.#features.set(FeatureClass, feature);
    }
    return feature as P;
  }

  /** Calls one hook of all features that have this hook. */
  callHook<K extends keyof Feature>(hook: K, ...args: Parameters<NonNullable<Feature[K]>>): void {
    type Hooks = { readonly [K in keyof Feature]?: (...args: unknown[]) => void };
    for (const feature of this.#features.values()) (feature as Hooks)[hook]?.(...args);
  }
}
