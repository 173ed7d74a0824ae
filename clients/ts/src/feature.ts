import type { TidingsError } from "./errors.js";
import type { LogEvent, ServerFrame } from "./protocol/frames.js";

/** An optional feature of a client or a room. It is created at its first use; from then on its hooks are called. */
export interface Feature {
  /** The client is connected, for the first time or again. */
  up?(): void;
  /** For a client: any frame. For a room: frames that name the room and are not log events. */
  frame?(frame: ServerFrame): void;
  /** A log event, after the timeline has applied it. */
  event?(event: LogEvent): void;
  /** The room was joined, or a new epoch began. */
  joined?(): void;
  /** Some events were skipped and will not be delivered to `event`. */
  missed?(): void;
  /** The cursor of the log has reached this position. */
  cursorMoved?(seq: number): void;
  /** The current user sent a message. */
  messageSent?(): void;
  /** The connection or the room is gone. `ended` is the reason if the kit will not reconnect by itself. */
  down?(ended?: TidingsError): void;
  /** The room was closed some seconds after its last opener released it. */
  closed?(): void;
  /** Another user is connected now, so the feature must drop all state of the earlier user. */
  userChanged?(): void;
}

/** The features of one client or room. */
export class Features<H> {
  readonly #host: H;
  readonly #features = new Map<unknown, Feature>();

  constructor(host: H) {
    this.#host = host;
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

  /** Calls the hook of all features. */
  callHook<K extends keyof Feature>(hook: K, ...args: Parameters<NonNullable<Feature[K]>>): void {
    type Hooks = { readonly [K in keyof Feature]?: (...args: unknown[]) => void };
    for (const feature of this.#features.values()) (feature as Hooks)[hook]?.(...args);
  }
}
