import type { Env } from "../env.js";
import { Timer } from "../timers.js";
import type { Tokens } from "./tokens.js";

/**
 * How long before its expiry a token is renewed, in milliseconds. A token that expires sooner than twice this time is
 * renewed after half of the remaining time.
 */
const RENEW_BEFORE_MS = 30_000;
/** The pause after a failed renewal, in milliseconds. */
const RETRY_MS = 10_000;
/** The longest time that a timer supports, in milliseconds. A token that expires later is renewed after this time. */
const MAX_TIMER_MS = 0x7fffffff;

/**
 * Renews the token before the connection expires. It corrects the time of the device by the time of the
 * server, because the two clocks may differ.
 */
export class TokenRenewal {
  readonly #env: Env;
  readonly #tokens: Tokens;
  readonly #auth: (token: string) => Promise<unknown>;
  readonly #timer: Timer;
  #skew = 0;

  constructor(env: Env, tokens: Tokens, auth: (token: string) => Promise<unknown>) {
    this.#env = env;
    this.#tokens = tokens;
    this.#auth = auth;
    this.#timer = new Timer(env.timers);
  }

  /**
   * Plans the renewal for a connection that expires at `expiresAt`. `serverTime` is given
   * only at the start of the connection.
   */
  start(expiresAt: string, serverTime?: string): void {
    const now = this.#env.timers.now();
    if (serverTime) this.#skew = Date.parse(serverTime) - now;
    const left = Date.parse(expiresAt) - now - this.#skew;
    const wait = Math.max(1_000, left > 2 * RENEW_BEFORE_MS ? left - RENEW_BEFORE_MS : left / 2);
    this.#renewIn(Math.min(wait || MAX_TIMER_MS, MAX_TIMER_MS));
  }

  stop(): void {
    this.#timer.clear();
  }

  #renewIn(ms: number): void {
    this.#timer.set(ms, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    // Plans a retry in case this renewal fails. After a success, the `auth:ok` answer calls
    // `start`, which replaces that plan.
    this.#renewIn(RETRY_MS);
    try {
      const token = await this.#tokens.renew();
      if (this.#timer.pending) await this.#auth(token);
    } catch (thrown) {
      if (this.#timer.pending) this.#env.report(thrown);
    }
  }
}
