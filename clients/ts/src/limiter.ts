/** Lets so many run at one time; the others wait for their turn. */
export function limiter(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await work();
    } finally {
      // The place goes over to the next one.
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
