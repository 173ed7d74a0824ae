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
    /** Returns the current token, or a new one if there is none or the server has `refused` the current one. */
    get: async (refused?: string): Promise<string> =>
      current === undefined || current === refused ? renew() : current,
  };
}

export type Tokens = ReturnType<typeof createTokens>;
