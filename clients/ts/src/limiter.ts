/** Returns a function that runs at most `limit` tasks at the same time. Further tasks wait in order of the calls. */
export function createLimiter(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiters: (() => void)[] = [];
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => waiters.push(resolve));
    else running++;
    try {
      return await work();
    } finally {
      // The next waiting task takes the slot of the finished task.
      const next = waiters.shift();
      if (next) next();
      else running--;
    }
  };
}
