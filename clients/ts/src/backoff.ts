/** The longest pause before the second attempt, twice that before the third, and so on up to this, in milliseconds. */
const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/**
 * How long to wait before attempt number `failures` + 1: anything from 0 to the cap, so that those who
 * lost their connections in the same moment do not come back in the same moment. Never less than the
 * server asked for.
 * @param failures attempts that failed in a row, from 1 on
 * @param atLeast milliseconds that the server told
 */
export function backoff(failures: number, random: () => number, atLeast = 0): number {
  const cap = Math.min(FIRST_MS * 2 ** Math.max(failures - 1, 0), LONGEST_MS);
  return atLeast + Math.floor(random() * cap);
}
