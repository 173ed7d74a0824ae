/** Runs at most `limit` tasks at one time; the others wait for their turn. */
export function limiter(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await work();
    } finally {
      // The finished task passes its slot to the next one.
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
