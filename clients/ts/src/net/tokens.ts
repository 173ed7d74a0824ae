/** The current token. Concurrent callers share one request to the app. */
export class Tokens {
  /** The current token; undefined before the first request. */
  #current: string | undefined;
  readonly #fetchToken: () => Promise<string>;
  #pending: Promise<string> | undefined;

  constructor(fetchToken: () => Promise<string>) {
    this.#fetchToken = fetchToken;
  }

  /**
   * Returns the current token. Asks for a new token at first, and when the server has `refused` the current one.
   */
  async get(refused?: string): Promise<string> {
    return this.#current === undefined || this.#current === refused ? this.renew() : this.#current;
  }

  /** Asks the app for a token. Rejects with the error of the app. */
  renew(): Promise<string> {
    this.#pending ??= this.#fetchToken()
      .then((token) => {
        this.#current = token;
        return token;
      })
      .finally(() => {
        this.#pending = undefined;
      });
    return this.#pending;
  }
}
