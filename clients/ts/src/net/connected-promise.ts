import type { TidingsError } from "../errors.js";

/** A promise for the next connection, which all callers share. After it is settled, later callers get a new one. */
export class ConnectedPromise {
  #promise: Promise<void> | undefined;
  #settle: (error?: TidingsError) => void = () => {};

  get promise(): Promise<void> {
    this.#promise ??= new Promise<void>((resolve, reject) => {
      this.#settle = (error) => (error ? reject(error) : resolve());
    });
    // Prevents an unhandled rejection when no caller handles it.
    this.#promise.catch(() => {});
    return this.#promise;
  }

  /** Resolves the promise, or rejects it with `error` when the kit has given up. */
  settle(error?: TidingsError): void {
    this.#promise = undefined;
    this.#settle(error);
  }
}
