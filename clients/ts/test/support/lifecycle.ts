import type { Lifecycle, LifecycleEvent } from "../../src/index.js";

/** A lifecycle that a test drives. */
export function lifecycle(): Lifecycle & { emit(event: LifecycleEvent): void } {
  const listeners = new Set<(event: LifecycleEvent) => void>();
  return {
    online: () => true,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    emit: (event) => {
      for (const listener of [...listeners]) listener(event);
    },
  };
}
