import type { Env } from "../env.js";
import { Timer } from "../timers.js";
import type { Tokens } from "./tokens.js";

/**
 * How long before its expiry a token is renewed, in milliseconds. A short-lived token is renewed at half of
 * its time.
 */
const RENEW_BEFORE_MS = 30_000;
/** The pause after a failed renewal. */
const RETRY_MS = 10_000;
/** The longest possible timer. A later expiry is renewed after this time. */
const MAX_TIMER_MS = 0x7fffffff;

/**
 * Renews the token before the connection expires. It compares only times of the server, because clocks may
 * differ.
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

  /** The connection expires at `expiresAt`. `serverTime` is given at the beginning of the connection. */
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
    // Plans the retry first; the answer to a successful renewal sets the next time. Until then the old token
    // is valid.
    this.#renewIn(RETRY_MS);
    try {
      const token = await this.#tokens.renew();
      if (this.#timer.pending) await this.#auth(token);
    } catch (thrown) {
      if (this.#timer.pending) this.#env.report(thrown);
    }
  }
}
