import type { TidingsError } from "../errors.js";

/** What all who want to be connected wait for: one promise until it is settled, then another. */
export class First {
  #promise: Promise<void> | undefined;
  #settle: (error?: TidingsError) => void = () => {};

  get promise(): Promise<void> {
    this.#promise ??= new Promise<void>((resolve, reject) => {
      this.#settle = (error) => (error ? reject(error) : resolve());
    });
    // Who does not wait for it hears of the end all the same.
    this.#promise.catch(() => {});
    return this.#promise;
  }

  /** Connected, or given up by `error`. */
  settle(error?: TidingsError): void {
    this.#promise = undefined;
    this.#settle(error);
  }
}
