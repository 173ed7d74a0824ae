/** Runs a function that uses the browser's storage. Returns undefined when the storage is full or blocked. */
export function tryStorage<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch {
    return undefined;
  }
}
