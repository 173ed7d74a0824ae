import type { Stack, SystemAddresses } from "../../ts/test-system/stack.js";

/** The addresses of everything that the tests of one worker use. */
export interface Environment {
  /** The origin of the demo. */
  readonly demo: string;
  /** The origin of a demo with files and push. It uses the same system. */
  readonly demoWithServices: string;
  /** The endpoint of the browser, for Playwright. */
  readonly browser: string;
  /** The URL that controls the system: see `serveControl`. */
  readonly control: string;
  /** The addresses of the system's nodes. */
  readonly addresses: SystemAddresses;
}

/** The functions of the system that a test can call. */
export const CONTROL_COMMANDS = ["kill", "pause", "resume", "drain", "start", "link", "sql", "log"] as const;

/** The system as a test controls it. */
export type StackControl = Pick<Stack, (typeof CONTROL_COMMANDS)[number]>;
