import fc from "fast-check";
import { expect, test } from "vitest";
import { backoffMs } from "../src/backoff.js";
import {
  type ConnectionEvent,
  type ConnectionPhase,
  nextPhase,
  PUBLIC_STATES,
  TRANSITIONS,
} from "../src/machine.js";
import { uuidMaker } from "../src/uuid.js";

const PHASES = Object.keys(TRANSITIONS) as ConnectionPhase[];
const HAPPENINGS: ConnectionEvent[] = [
  "connect",
  "opened",
  "lost",
  "retry",
  "drain",
  "move",
  "failed",
  "fatal",
  "disconnect",
];

test("the table leads only to existing phases, and every phase is reachable", () => {
  const reached = new Set<ConnectionPhase>(["idle"]);
  for (const _ of PHASES) {
    for (const phase of [...reached]) for (const to of Object.values(TRANSITIONS[phase])) reached.add(to);
  }
  expect([...reached].sort()).toEqual([...PHASES].sort());
});

test("a transition outside the table is an error", () => {
  for (const phase of PHASES) {
    for (const happening of HAPPENINGS) {
      const to = TRANSITIONS[phase][happening];
      if (to) expect(nextPhase(phase, happening)).toBe(to);
      else expect(() => nextPhase(phase, happening), `${phase} ${happening}`).toThrow();
    }
  }
});

test("the app can disconnect in every phase, and only then attempts end", () => {
  for (const phase of PHASES) expect(PUBLIC_STATES[nextPhase(phase, "disconnect")]).toBe("disconnected");
  expect(PHASES.filter((phase) => PUBLIC_STATES[phase] === "connected").sort()).toEqual([
    "connected",
    "draining",
    "moving",
  ]);
});

test("pauses are random from zero up to the cap, added to the server's delay", () => {
  const CAPS = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000];
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000 }),
      fc.double({ min: 0, max: 0.999999, noNaN: true }),
      fc.nat(100_000),
      (n, r, told) => {
        const cap = CAPS[Math.min(n, CAPS.length) - 1] as number;
        const wait = backoffMs(n, () => r, told);
        expect(wait).toBeGreaterThanOrEqual(told);
        expect(wait).toBeLessThan(told + cap);
        expect(wait - told).toBe(Math.floor(r * cap));
      },
    ),
  );
});

test("client ids are UUIDv7 and ascend, also when the clock stops or goes back", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 2 ** 45 }), { minLength: 1, maxLength: 50 }), (times) => {
      let now = 0;
      const make = uuidMaker(() => now);
      const ids = times.flatMap((time) => {
        now = time;
        return [make(), make(), make()];
      });
      for (const id of ids)
        expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      expect([...ids].sort()).toEqual(ids);
      expect(new Set(ids).size).toBe(ids.length);
    }),
  );
});

test("client ids ascend when one millisecond exceeds the counter", () => {
  const make = uuidMaker(() => 1);
  const ids = Array.from({ length: 10_000 }, make);
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});
