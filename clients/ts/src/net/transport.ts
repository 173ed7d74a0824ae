import type { Env } from "../env.js";
import { asError, TidingsError } from "../errors.js";
import { Timer } from "../timers.js";
import type { ServerConnection } from "./connection.js";
import { callHttp } from "./http.js";

/** Failed handshakes in a row before the kit switches to polls, and failed polls before it switches back. */
const MAX_FAILED_HANDSHAKES = 3;
const MAX_FAILED_POLLS = 3;
/**
 * The first and the longest pause before an attempt to return to a WebSocket, in milliseconds. Each failed attempt
 * doubles the pause.
 */
const FIRST_UPGRADE_PAUSE_MS = 5_000;
const MAX_UPGRADE_PAUSE_MS = 300_000;
const PROBE_TIMEOUT_MS = 5_000;

/**
 * Chooses between WebSocket and polls when the app's `transport` is `auto`. The kit loads this class together with the
 * polls.
 */
export class Transport {
  readonly #env: Env;
  readonly #connection: ServerConnection;
  readonly #upgradeTimer: Timer;
  #failedHandshakes = 0;
  #failedPolls = 0;
  #upgradePauseMs = FIRST_UPGRADE_PAUSE_MS;
  #generation = 0;

  constructor(env: Env, connection: ServerConnection) {
    this.#env = env;
    this.#connection = connection;
    this.#upgradeTimer = new Timer(env.timers);
  }

  /** Resets the counters and timers, because a link has opened. */
  opened(): void {
    this.stop();
    if (!this.#connection.polling) this.#upgradePauseMs = FIRST_UPGRADE_PAUSE_MS;
  }

  /** Counts an attempt at the gateway `origin` that failed before `connected`. May change the next transport. */
  failed(kind: "websocket" | "poll", code: number, origin: string): void {
    if (kind === "poll") {
      if (++this.#failedPolls % MAX_FAILED_POLLS === 0) this.#connection.polling = false;
    } else if (this.#connection.polling)
      this.#upgradePauseMs = Math.min(this.#upgradePauseMs * 2, MAX_UPGRADE_PAUSE_MS);
    else if (code === 1006) void this.#probeGateway(origin);
    // Any other close code comes from the server, so WebSockets work.
    else this.#failedHandshakes = 0;
  }

  /** Handles what the answer to a poll says about WebSockets: plans an attempt to open one, or cancels the plan. */
  hint(worthTrying: boolean): void {
    if (!worthTrying) this.#upgradeTimer.clear();
    else if (!this.#upgradeTimer.pending) {
      this.#upgradeTimer.set(this.#upgradePauseMs * (0.5 + this.#env.random() / 2), () =>
        this.#connection.upgrade(),
      );
    }
  }

  /** Stops the timer, and resets the counters of failed attempts. */
  stop(): void {
    this.#upgradeTimer.clear();
    this.#generation++;
    this.#failedHandshakes = this.#failedPolls = 0;
  }

  /** Finds out over HTTP whether the gateway is reachable, because browsers hide the reason of a failed handshake. */
  async #probeGateway(origin: string): Promise<void> {
    const generation = this.#generation;
    try {
      const answer = await callHttp<{ websocket?: boolean; retry_after_ms?: number }>(
        this.#env,
        `${origin}/v1/transport`,
        { ms: PROBE_TIMEOUT_MS },
      );
      // Ignores the answer if a link was opened or the client was stopped meanwhile.
      if (generation !== this.#generation) return;
      if (answer.retry_after_ms) this.#connection.retryAfter(answer.retry_after_ms);
      // The gateway is reachable over HTTP, so the failed handshake counts. Polls start after `MAX_FAILED_HANDSHAKES`,
      // or at once if the gateway says that WebSockets do not work.
      if (
        this.#connection.polling ||
        (answer.websocket !== false && ++this.#failedHandshakes < MAX_FAILED_HANDSHAKES)
      )
        return;
      this.#connection.polling = true;
      this.#connection.retryNow();
    } catch (cause) {
      // The gateway is not reachable, so the failed handshake does not show that WebSockets are blocked.
      const { status, code } = asError(cause);
      if (status === 404 || code === "protocol") {
        const message = `No Tidings server answers at ${origin}; check the option url`;
        this.#env.report(new TidingsError("protocol", message, { status, cause }));
      }
    }
  }
}
