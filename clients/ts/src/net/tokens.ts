/** Holds the current token. Concurrent callers share one request to the app. */
export function createTokens(fetchToken: () => Promise<string>) {
  /** The current token; undefined before the first request. */
  let current: string | undefined;
  let pending: Promise<string> | undefined;
  /** Asks the app for a token. Rejects with the error of the app. */
  const renew = (): Promise<string> => {
    pending ??= fetchToken()
      .then((token) => {
        current = token;
        return token;
      })
      .finally(() => {
        pending = undefined;
      });
    return pending;
  };
  return {
    renew,
    /** Returns the current token. Requests a new token if the client has no token or the server refused it (`refused`). */
    get: async (refused?: string): Promise<string> =>
      current === undefined || current === refused ? renew() : current,
  };
}

export type Tokens = ReturnType<typeof createTokens>;
