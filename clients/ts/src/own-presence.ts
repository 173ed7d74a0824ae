import { backoffMs } from "./backoff.js";
import type { Env } from "./env.js";
import { asError, isPermanent } from "./errors.js";
import type { ServerConnection } from "./net/connection.js";
import { Timer } from "./timers.js";

/** The least pause before a refused status is sent again, if the server names none, in milliseconds. */
const DEFAULT_RETRY_MS = 2_000;

/**
 * The presence of this connection: `away` if the user has chosen that, while the app is hidden, and while nobody uses
 * it; else `online`. The server combines the connections of a user, so each tab reports only itself.
 */
export class OwnPresence {
  readonly #env: Env;
  readonly #connection: ServerConnection;
  readonly #idleTimer: Timer;
  readonly #retryTimer: Timer;
  #chosen: "online" | "away" = "online";
  /** The status that the server has; undefined if it is not known. */
  #reported: "online" | "away" | undefined;
  #hidden = false;
  #idle = false;
  #lastUse = 0;
  /** Removes the listeners. Undefined if there are no listeners. */
  #unlisten: (() => void) | undefined;

  constructor(env: Env, connection: ServerConnection) {
    this.#env = env;
    this.#connection = connection;
    this.#idleTimer = new Timer(env.timers);
    this.#retryTimer = new Timer(env.timers);
  }

  /** Sets the status that the user has chosen. */
  choose(status: "online" | "away"): void {
    this.#chosen = status;
    this.#report();
  }

  /** Forgets the choice, because another user has connected. */
  userChanged(): void {
    this.#chosen = "online";
  }

  /** Called when the client has connected or reconnected. */
  up(): void {
    this.#retryTimer.clear();
    // A connection is online until it says otherwise. Polls have no connection, so they may continue an earlier status.
    this.#reported = this.#connection.kind === "poll" ? undefined : "online";
    if (!this.#unlisten && this.#env.awayAfterMs > 0) this.#listen();
    this.#report();
  }

  /** Called when the client has disconnected and will not reconnect by itself. */
  ended(): void {
    this.#unlisten?.();
    this.#unlisten = undefined;
    this.#idleTimer.clear();
    this.#retryTimer.clear();
  }

  #listen(): void {
    const { lifecycle, timers } = this.#env;
    const removals = [
      lifecycle.subscribe((event) => {
        if (event !== "visible" && event !== "hidden") return;
        this.#hidden = event === "hidden";
        if (!this.#hidden) this.#used();
        this.#report();
      }),
      // A lifecycle that does not report input knows only whether the app is visible.
      lifecycle.onInput?.(() => {
        // Input may come many times a second, so the timer is set again only when it ends.
        this.#lastUse = timers.now();
        if (this.#idle) this.#used();
      }),
    ];
    this.#unlisten = () => {
      for (const remove of removals) remove?.();
    };
    this.#hidden = lifecycle.visible?.() === false;
    this.#used();
  }

  /** Remembers that the user uses the app now, and reports it. */
  #used(): void {
    this.#lastUse = this.#env.timers.now();
    this.#checkIdle();
  }

  /** Finds whether nobody uses the app, and looks again when that may have changed. */
  #checkIdle(): void {
    const { awayAfterMs, lifecycle, timers } = this.#env;
    if (!lifecycle.onInput) return;
    // The clock may have been set back since the last use.
    this.#lastUse = Math.min(this.#lastUse, timers.now());
    const left = this.#lastUse + awayAfterMs - timers.now();
    this.#idle = left <= 0;
    if (!this.#idle) this.#idleTimer.set(left, () => this.#checkIdle());
    this.#report();
  }

  #report(): void {
    const status = this.#hidden || this.#idle ? "away" : this.#chosen;
    if (status === this.#reported || this.#retryTimer.pending || !this.#connection.up) return;
    this.#reported = status;
    void this.#send(status);
  }

  async #send(status: "online" | "away"): Promise<void> {
    try {
      await this.#connection.request({ type: "presence:set", status });
    } catch (thrown) {
      const error = asError(thrown);
      // The next connection reports anew. A later status has an answer of its own.
      if (error.code === "disconnected" || !this.#connection.up || status !== this.#reported) return;
      if (isPermanent(error)) return;
      this.#reported = undefined;
      const { random } = this.#env;
      this.#retryTimer.set(backoffMs(1, random, error.retryAfterMs ?? DEFAULT_RETRY_MS), () =>
        this.#report(),
      );
    }
  }
}
