// The cuts of a run, drawn from a seed: which side, of what kind, for how long, and the time until the next.

/** Numbers in [0, 1) that a seed decides (mulberry32, public domain). */
export function numbers(seed) {
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
 * `count` cuts. `cut`: connections end with RST. `away`: they do, and none can be made for `ms`. `silent`: nothing comes
 * through for `ms`, then they end. `node`: the server process is killed, and started again after `ms`.
 */
export function schedule(seed, count) {
  const random = numbers(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  return Array.from({ length: count }, (_, number) => ({
    // Every twentieth is a node, whatever is drawn otherwise: they take longest.
    kind: number % 20 === 19 ? "node" : pick(KINDS.slice(0, 4)),
    side: pick(SIDES),
    ms: 200 + Math.floor(random() * 2300),
    pauseMs: 300 + Math.floor(random() * 900),
  }));
}
