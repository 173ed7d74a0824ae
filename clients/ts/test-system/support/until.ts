/** Waiting for what is to come, without telling when. */

/** A pause of that many milliseconds. */
export const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until the check holds, or does not throw any more. Rejects with what it said last. */
export async function until(
  what: string,
  check: () => unknown | Promise<unknown>,
  patience = 20_000,
): Promise<void> {
  const end = Date.now() + patience;
  for (;;) {
    let thrown: unknown;
    try {
      if ((await check()) !== false) return;
    } catch (error) {
      thrown = error;
    }
    if (Date.now() > end) {
      if (thrown instanceof Error) {
        thrown.message = `waiting until ${what}: ${thrown.message}`;
        throw thrown;
      }
      throw new Error(`waited ${patience} ms until ${what}`);
    }
    await rest(25);
  }
}
