import type { Described, Stack } from "../../ts/test-system/stack.js";

/** Where everything is that the tests of one worker use. */
export interface World {
  /** Origin of the demo. */
  readonly demo: string;
  /** Endpoint of the browser, for Playwright. */
  readonly browser: string;
  /** Where the system is steered from: see `serveControl`. */
  readonly control: string;
  readonly at: Described;
}

/** What of the system can be steered from a test. */
export const ORDERS = ["kill", "pause", "resume", "drain", "start", "link", "sql", "log"] as const;

/** The system as a test has it in hands. */
export type Steering = Pick<Stack, (typeof ORDERS)[number]>;
