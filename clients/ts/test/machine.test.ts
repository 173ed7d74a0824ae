import fc from "fast-check";
import { expect, test } from "vitest";
import { backoffMs } from "../src/backoff.js";
import { type ConnectionPhase, PUBLIC_STATES } from "../src/machine.js";
import { createUuidGenerator } from "../src/uuid.js";
import { ALLOWED, checkStep } from "./support/transitions.js";

const PHASES = Object.keys(ALLOWED) as ConnectionPhase[];

test("every phase is reachable by allowed steps, and the app can disconnect in every phase", () => {
  const reached = new Set<ConnectionPhase>(["idle"]);
  for (const _ of PHASES) for (const phase of [...reached]) for (const to of ALLOWED[phase]) reached.add(to);
  expect([...reached].sort()).toEqual(Object.keys(PUBLIC_STATES).sort());
  for (const phase of PHASES) expect(ALLOWED[phase]).toContain("idle");
});

test("a step that its phase does not allow fails the test that caused it", () => {
  const step = (from: ConnectionPhase, to: ConnectionPhase) => () => checkStep({ type: "step", from, to });
  expect(step("waiting", "retrying")).not.toThrow();
  expect(step("connected", "retrying")).toThrow("from connected to retrying");
  expect(step("moving", "waiting")).toThrow("from moving to waiting");
});

test("pauses are random from zero up to the cap, added to the server's delay", () => {
  const CAPS = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000];
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000 }),
      fc.double({ min: 0, max: 0.999999, noNaN: true }),
      fc.nat(100_000),
      (n, r, minMs) => {
        const cap = CAPS[Math.min(n, CAPS.length) - 1] as number;
        const wait = backoffMs(n, () => r, minMs);
        expect(wait).toBeGreaterThanOrEqual(minMs);
        expect(wait).toBeLessThan(minMs + cap);
        expect(wait - minMs).toBe(Math.floor(r * cap));
      },
    ),
  );
});

test("client ids are UUIDv7 and ascend, also when the clock stops or goes back", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 2 ** 45 }), { minLength: 1, maxLength: 50 }), (times) => {
      let now = 0;
      const make = createUuidGenerator(() => now);
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

test("client ids ascend when more are made in one millisecond than it has numbers", () => {
  const make = createUuidGenerator(() => 1);
  const ids = Array.from({ length: 10_000 }, make);
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});
