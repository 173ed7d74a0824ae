/** A fake of `navigator.locks` for the tabs of one browser: shared and exclusive locks, `ifAvailable`, and `query`. */
export class BrowserLocks {
  readonly #held: { readonly name: string; readonly mode: LockMode }[] = [];

  query = async () => ({ held: [...this.#held], pending: [] });

  request = async <T>(
    name: string,
    { mode = "exclusive", ifAvailable = false }: LockOptions,
    work: (lock: { name: string; mode: LockMode } | null) => T,
  ): Promise<Awaited<T>> => {
    // A browser calls the function later.
    await Promise.resolve();
    const isShared = (held: { mode: LockMode }) => mode === "shared" && held.mode === "shared";
    const isFree = this.#held.every((held) => held.name !== name || isShared(held));
    if (!isFree && ifAvailable) return await work(null);
    if (!isFree) throw new Error("these locks cannot be waited for");
    const lock = { name, mode };
    this.#held.push(lock);
    try {
      return await work(lock);
    } finally {
      this.#held.splice(this.#held.indexOf(lock), 1);
    }
  };
}
