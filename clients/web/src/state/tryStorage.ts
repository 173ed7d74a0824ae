/** Calls the browser's storage. Returns undefined when it throws because it is full or blocked. */
export function tryStorage<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch {
    return undefined;
  }
}
