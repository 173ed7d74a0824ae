import type { TidingsError } from "../errors.js";

/** The promise of the next connection, shared by all waiters. After it is settled a new promise replaces it. */
export class ConnectedPromise {
  #promise: Promise<void> | undefined;
  #settle: (error?: TidingsError) => void = () => {};

  get promise(): Promise<void> {
    this.#promise ??= new Promise<void>((resolve, reject) => {
      this.#settle = (error) => (error ? reject(error) : resolve());
    });
    // Prevents an unhandled rejection when nobody waits.
    this.#promise.catch(() => {});
    return this.#promise;
  }

  /** Resolves the promise, or rejects it with `error` when the kit has given up. */
  settle(error?: TidingsError): void {
    this.#promise = undefined;
    this.#settle(error);
  }
}
