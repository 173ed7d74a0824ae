/** Makes a function that runs at most `limit` tasks at one time. Further tasks wait in the order of the calls. */
export function limiter(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await work();
    } finally {
      // The next waiting task takes the slot of the finished task.
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
