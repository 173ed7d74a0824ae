import type { Env } from "../env.js";
import { Alarm } from "../timers.js";
import { call } from "./http.js";

/** Handshakes in a row that may fail before polls are tried, and polls before a handshake is. */
const HANDSHAKES = 3;
const POLLS = 3;
/** Pauses between attempts to get back to a WebSocket, in milliseconds: each twice the one before. */
const UPGRADE_MS = 5_000;
const UPGRADE_LONGEST_MS = 300_000;
const PROBE_MS = 5_000;

/** Who is told of what was found out. */
export interface TransportHost {
  /** Whether the next attempt is a poll. */
  polling: boolean;
  /** It is clear now which transport to use: no need to wait any longer. */
  decided(): void;
  /** The node asks not to be tried again before that many milliseconds. */
  later(ms: number): void;
  /** A WebSocket is worth a try. */
  upgrade(): void;
}

/** Chooses between a WebSocket and polls, where the app leaves it open. Loaded with what polls. */
export class Transport {
  readonly #env: Env;
  readonly #host: TransportHost;
  readonly #upgrade: Alarm;
  #failed = 0;
  #failedPolls = 0;
  #pause = UPGRADE_MS;
  #age = 0;

  constructor(env: Env, host: TransportHost) {
    this.#env = env;
    this.#host = host;
    this.#upgrade = new Alarm(env.timers);
  }

  /** A link is there. */
  opened(): void {
    this.stop();
    if (!this.#host.polling) this.#pause = UPGRADE_MS;
  }

  /** An attempt came to nothing before the welcome; `origin` is the gateway that was tried. */
  failed(kind: "websocket" | "poll", code: number, origin: string): void {
    if (kind === "poll") {
      if (++this.#failedPolls % POLLS === 0) this.#host.polling = false;
    } else if (this.#host.polling) this.#pause = Math.min(this.#pause * 2, UPGRADE_LONGEST_MS);
    else if (code === 1006) void this.#ask(origin);
    // With another code the server was reached: the way is free.
    else this.#failed = 0;
  }

  /** A poll said whether a WebSocket is worth trying. */
  hint(worth: boolean): void {
    if (!worth) this.#upgrade.clear();
    else if (!this.#upgrade.on) {
      this.#upgrade.set(this.#pause * (0.5 + this.#env.random() / 2), () => this.#host.upgrade());
    }
  }

  stop(): void {
    this.#upgrade.clear();
    this.#age++;
    this.#failed = this.#failedPolls = 0;
  }

  /** Pages cannot see why a handshake failed: the gateway tells. */
  async #ask(origin: string): Promise<void> {
    const age = this.#age;
    try {
      const answer = await call<{ websocket?: boolean; retry_after_ms?: number }>(
        this.#env,
        `${origin}/v1/transport`,
        { ms: PROBE_MS },
      );
      // What is answered late is of an end that is past.
      if (age !== this.#age) return;
      if (answer.retry_after_ms) this.#host.later(answer.retry_after_ms);
      // Only handshakes that fail while the gateway can be asked are those of a network that lets none through.
      if (this.#host.polling || (answer.websocket !== false && ++this.#failed < HANDSHAKES)) return;
      this.#host.polling = true;
      this.#host.decided();
    } catch {
      // No network, then: that says nothing of WebSockets.
    }
  }
}
