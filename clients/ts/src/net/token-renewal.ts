import type { Env } from "../env.js";
import { asError } from "../errors.js";
import { MAX_TIMER_MS, Timer } from "../timers.js";
import type { Tokens } from "./tokens.js";

/**
 * How long before its expiry a token is renewed, in milliseconds. A token that expires sooner than twice this time is
 * renewed after half of the remaining time.
 */
const RENEW_BEFORE_MS = 30_000;
/** The pause after a failed renewal, in milliseconds. */
const RENEWAL_RETRY_MS = 10_000;

/**
 * Renews the token before the connection expires. Times are measured with the clock of the server, because the clock of
 * the device may differ.
 * @param auth sends a new token to the server on the open connection
 */
export function createTokenRenewal(env: Env, tokens: Tokens, auth: (token: string) => Promise<unknown>) {
  const timer = new Timer(env.timers);
  let clockSkew = 0;
  const renew = async (): Promise<void> => {
    // Plans a retry in case this renewal fails. After a success the `auth:ok` frame calls `start`, which replaces the
    // planned retry.
    timer.set(RENEWAL_RETRY_MS, () => void renew());
    // The error needs no handling here, because `tokens` reports each failure.
    const generation = tokens.generation();
    const token = await tokens.renew().catch(() => undefined);
    // The connection of the next user must not get the token.
    if (generation !== tokens.generation()) return;
    try {
      if (token && timer.pending) await auth(token);
    } catch (thrown) {
      const error = asError(thrown);
      if (error.code === "unauthorized") tokens.refuse(error, token);
      if (timer.pending) env.report(error);
    }
  };
  return {
    /**
     * Plans the renewal for a connection whose token expires at `expiresAt`. `serverTime` is the clock of the server,
     * which only the first frame of a connection contains.
     */
    start(expiresAt: string, serverTime?: string): void {
      const now = env.timers.now();
      if (serverTime) clockSkew = Date.parse(serverTime) - now;
      const remainingMs = Date.parse(expiresAt) - now - clockSkew;
      tokens.setExpiry(now + remainingMs);
      const wait = Math.max(
        1_000,
        remainingMs > 2 * RENEW_BEFORE_MS ? remainingMs - RENEW_BEFORE_MS : remainingMs / 2,
      );
      timer.set(wait || MAX_TIMER_MS, () => void renew());
    },
    stop: (): void => timer.clear(),
  };
}
