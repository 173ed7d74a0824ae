import { invalidOption } from "../check-options.js";
import type { Env } from "../env.js";
import { errorText, TidingsError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";

/**
 * Holds the current token, which is used until it expires or the server refuses it. Concurrent callers share one
 * request to the app. Each failure of the app's function is reported.
 * @param signedOut called when the app's function says that the user is signed out
 */
export function createTokens(env: Env, signedOut: (error: TidingsError) => void) {
  /** The current token; undefined before the first request and after a refusal. */
  let current: string | undefined;
  /** When the current token expires; NaN while this is unknown. */
  let expiresAt = Number.NaN;
  /** Why the server refused the last token. */
  let refused: TidingsError | undefined;
  let pending: Promise<string> | undefined;
  /** Changes when the next token may be for another user. */
  let generation = 0;
  /** Asks the app for a token. Rejects with TidingsError. */
  const renew = (): Promise<string> => {
    if (pending) return pending;
    const ask = async (): Promise<string> => {
      try {
        const token: unknown = await env.token(omitNullish({ refused }));
        if (!token || typeof token !== "string")
          throw invalidOption("token", "return a token", token === "" ? '""' : typeof token);
        // `clear` and `refuse` reset `pending`. After `clear` the token may belong to an earlier user; after `refuse`
        // it may be the refused token.
        if (pending === request) {
          current = token;
          expiresAt = Number.NaN;
          refused = undefined;
        }
        return token;
      } catch (thrown) {
        const error =
          thrown instanceof TidingsError && thrown.code !== "timeout"
            ? thrown
            : new TidingsError("network", `The option token failed: ${errorText(thrown)}`, { cause: thrown });
        env.report(error);
        if (pending === request && error.code === "unauthorized") signedOut(error);
        throw error;
      } finally {
        if (pending === request) pending = undefined;
      }
    };
    const request = ask();
    pending = request;
    return request;
  };
  return {
    renew,
    /** Returns the current token. Asks the app if there is none, or if the token has expired. */
    get: async (): Promise<string> =>
      current === undefined || env.timers.now() >= expiresAt ? renew() : current,
    /**
     * Drops the current token if it is `token`, which the server has refused. The next `get` asks the app again. If a
     * request to the app is already running, its answer is not kept, because the app did not know of the refusal.
     */
    refuse(error: TidingsError, token: string | undefined): void {
      if (token === undefined || token !== current) return;
      current = pending = undefined;
      refused = error;
    },
    /** Returns a number that stays the same as long as the tokens are for the same user. */
    generation: (): number => generation,
    /** Sets when the current token expires, in milliseconds since 1970 by the clock of this device. */
    setExpiry(at: number): void {
      expiresAt = at;
    },
    /** Forgets the token, because the next connection may be for another user. */
    clear(): void {
      current = pending = refused = undefined;
      generation++;
    },
  };
}

export type Tokens = ReturnType<typeof createTokens>;
