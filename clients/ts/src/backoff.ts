/** The longest random pause after the first failure, and after any failure, in ms. Each failure doubles the limit. */
const INITIAL_MAX_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 30_000;

/**
 * Returns the pause before the next attempt, in milliseconds: `minMs` plus a random time. The random time keeps clients
 * that were disconnected together from reconnecting together.
 * @param failures failed attempts in a row, from 1 on
 * @param minMs the delay that the server asked for, in milliseconds
 */
export function backoffMs(failures: number, random: () => number, minMs = 0): number {
  const cap = Math.min(INITIAL_MAX_PAUSE_MS * 2 ** Math.max(failures - 1, 0), MAX_PAUSE_MS);
  return minMs + Math.floor(random() * cap);
}
