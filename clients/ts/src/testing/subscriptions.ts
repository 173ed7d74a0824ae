/** A count of subscriptions, for tests that look for leaks. */
import type { Store } from "../types.js";

/** Counts the subscriptions to a store that have not ended. */
export function countSubscriptions(store: Store<unknown>): () => number {
  let count = 0;
  const { subscribe } = store;
  Object.assign(store, {
    subscribe(listener: () => void) {
      const unsubscribe = subscribe(listener);
      count += 1;
      return () => {
        count -= 1;
        unsubscribe();
      };
    },
  });
  return () => count;
}
