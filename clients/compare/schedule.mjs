// Draws the cuts of a run from a seed: their side, their kind, their length, and the pause before each.

/** A generator of numbers in [0, 1) with a seed (mulberry32, public domain). */
export function seededRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const SIDES = ["sender", "receiver", "both"];
const KINDS = ["cut", "cut", "away", "silent", "node"];

/**
 * Draws `count` cuts. `cut`: the connections end with RST. `away`: they end, and new ones are refused for `ms`.
 * `silent`: no bytes pass for `ms`, then the connections end. `node`: the server process is killed, and it starts again
 * after `ms`.
 */
export function drawCuts(seed, count) {
  const random = seededRandom(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  return Array.from({ length: count }, (_, number) => ({
    // Only every twentieth cut kills a node, because the restart takes long.
    kind: number % 20 === 19 ? "node" : pick(KINDS.slice(0, 4)),
    side: pick(SIDES),
    ms: 200 + Math.floor(random() * 2300),
    pauseMs: 300 + Math.floor(random() * 900),
  }));
}
