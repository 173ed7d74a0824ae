/** Waits for conditions. */

/** Waits `ms` milliseconds: for the rate of traffic, or the length of a fault. Use `waitUntil` to wait for a state. */
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits a short time in which something must not happen. A fast clock makes it longer for the client. */
export const quietPeriod = (): Promise<void> => sleep(300);

/** Waits until the check returns another value than false without throwing. Rejects with its last error. */
export async function waitUntil(
  condition: string,
  check: () => unknown | Promise<unknown>,
  timeoutMs = 20_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    let thrown: unknown;
    try {
      if ((await check()) !== false) return;
    } catch (error) {
      thrown = error;
    }
    if (Date.now() > end) {
      if (thrown instanceof Error) {
        thrown.message = `waiting until ${condition}: ${thrown.message}`;
        throw thrown;
      }
      throw new Error(`waited ${timeoutMs} ms until ${condition}`);
    }
    await sleep(25);
  }
}
