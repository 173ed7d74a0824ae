import type { Env } from "../env.js";
import { Alarm } from "../timers.js";
import type { Tokens } from "./tokens.js";

/** How long before its end a token is renewed, in milliseconds; a short one after half of its time. */
const BEFORE_MS = 30_000;
/** How long to wait after one that was refused. */
const AGAIN_MS = 10_000;
/** Timers count no further than this: what is further away is renewed then. */
const FAR_MS = 0x7fffffff;

/** Puts off the end of a connection by a new token, in time. Clocks are not compared: only times of the server. */
export class Renewal {
  readonly #env: Env;
  readonly #tokens: Tokens;
  readonly #auth: (token: string) => Promise<unknown>;
  readonly #alarm: Alarm;
  #skew = 0;

  constructor(env: Env, tokens: Tokens, auth: (token: string) => Promise<unknown>) {
    this.#env = env;
    this.#tokens = tokens;
    this.#auth = auth;
    this.#alarm = new Alarm(env.timers);
  }

  /** The connection ends at `expiresAt`; `serverTime` is given when it began. */
  until(expiresAt: string, serverTime?: string): void {
    const now = this.#env.timers.now();
    if (serverTime) this.#skew = Date.parse(serverTime) - now;
    const left = Date.parse(expiresAt) - now - this.#skew;
    const wait = Math.max(1_000, left > 2 * BEFORE_MS ? left - BEFORE_MS : left / 2);
    this.#in(Math.min(wait || FAR_MS, FAR_MS));
  }

  stop(): void {
    this.#alarm.clear();
  }

  #in(ms: number): void {
    this.#alarm.set(ms, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    // The answer sets the next time; until then, and if it is refused, the old one is in force.
    this.#in(AGAIN_MS);
    try {
      const token = await this.#tokens.renew();
      if (this.#alarm.on) await this.#auth(token);
    } catch (thrown) {
      if (this.#alarm.on) this.#env.report(thrown);
    }
  }
}
