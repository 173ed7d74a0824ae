/** The token in use. It is asked for anew when it was refused, once for all who need it. */
export class Tokens {
  /** The token in use; not there before it was asked for. */
  current: string | undefined;
  readonly #ask: () => Promise<string>;
  #asking: Promise<string> | undefined;

  constructor(ask: () => Promise<string>) {
    this.#ask = ask;
  }

  /** The token in use; another one when there is none, or when it is `refused`. */
  async get(refused?: string): Promise<string> {
    return this.current === undefined || this.current === refused ? this.renew() : this.current;
  }

  /** Asks the app. Rejects with what it throws when it cannot tell. */
  renew(): Promise<string> {
    this.#asking ??= this.#ask()
      .then((token) => {
        this.current = token;
        return token;
      })
      .finally(() => {
        this.#asking = undefined;
      });
    return this.#asking;
  }
}
