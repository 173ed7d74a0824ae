/** The cap of the first pause, in milliseconds. The cap doubles with each failure, up to the highest cap. */
const FIRST_CAP_MS = 1_000;
const MAX_CAP_MS = 30_000;

/**
 * The pause before the next attempt, in milliseconds: `minMs` plus a random time up to the cap. The random time keeps
 * clients that were disconnected together from returning together.
 * @param failures failed attempts in a row, from 1 on
 * @param minMs the delay that the server asked for, in milliseconds
 */
export function backoffMs(failures: number, random: () => number, minMs = 0): number {
  const cap = Math.min(FIRST_CAP_MS * 2 ** Math.max(failures - 1, 0), MAX_CAP_MS);
  return minMs + Math.floor(random() * cap);
}
