/** The cap of the first pause, which doubles with each failure, and the highest cap, in milliseconds. */
const FIRST_CAP_MS = 1_000;
const MAX_CAP_MS = 30_000;

/**
 * The pause before the next attempt: a random time up to the cap, so that clients that were disconnected
 * together do not return together. It is added to the delay that the server asked for.
 * @param failures failed attempts in a row, from 1 on
 * @param atLeast the delay of the server in milliseconds
 */
export function backoff(failures: number, random: () => number, atLeast = 0): number {
  const cap = Math.min(FIRST_CAP_MS * 2 ** Math.max(failures - 1, 0), MAX_CAP_MS);
  return atLeast + Math.floor(random() * cap);
}
