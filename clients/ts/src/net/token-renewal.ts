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
 * Renews the token before the connection expires. Times are measured with the clock of the server, because the clock of
 * the device may differ.
 */
export function createTokenRenewal(env: Env, tokens: Tokens, auth: (token: string) => Promise<unknown>) {
  const timer = new Timer(env.timers);
  let skew = 0;
  const renew = async (): Promise<void> => {
    // Plans a retry in case this renewal fails. After a success the `auth:ok` frame calls `start`, which replaces the
    // planned retry.
    timer.set(RETRY_MS, () => void renew());
    try {
      const token = await tokens.renew();
      if (timer.pending) await auth(token);
    } catch (thrown) {
      if (timer.pending) env.report(thrown);
    }
  };
  return {
    /**
     * Plans the renewal for a connection that expires at `expiresAt`. `serverTime` is the clock of the server, which is
     * known only at the start of a connection.
     */
    start(expiresAt: string, serverTime?: string): void {
      const now = env.timers.now();
      if (serverTime) skew = Date.parse(serverTime) - now;
      const left = Date.parse(expiresAt) - now - skew;
      const wait = Math.max(1_000, left > 2 * RENEW_BEFORE_MS ? left - RENEW_BEFORE_MS : left / 2);
      timer.set(Math.min(wait || MAX_TIMER_MS, MAX_TIMER_MS), () => void renew());
    },
    stop: (): void => timer.clear(),
  };
}
