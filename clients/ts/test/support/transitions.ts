import type { DebugEntry } from "../../src/index.js";
import type { ConnectionPhase } from "../../src/machine.js";

/** An attempt opens a connection, fails, or is stopped: by the app (`idle`) or by a permanent refusal (`stopped`). */
const ATTEMPT = ["connected", "waiting", "idle", "stopped"] as const;
const OPEN = ["moving", "waiting", "idle", "stopped"] as const;

/** The phases that may follow each phase of the connection. Any other step is a bug of the kit. */
export const ALLOWED: { readonly [P in ConnectionPhase]: readonly ConnectionPhase[] } = {
  idle: ["connecting", "idle"],
  connecting: ATTEMPT,
  waiting: ["retrying", "idle", "stopped"],
  retrying: ATTEMPT,
  connected: [...OPEN, "draining"],
  draining: OPEN,
  // If the old link is lost, the running attempt becomes the reconnect attempt (`retrying`).
  moving: ["connected", "moving", "retrying", "idle", "stopped"],
  stopped: ["connecting", "idle"],
};

/** Throws for a step of the connection that is not allowed. For the option `debug`. */
export function checkStep(entry: DebugEntry): void {
  if (entry.type !== "step") return;
  const { from, to } = entry as { from: ConnectionPhase; to: ConnectionPhase };
  if (!ALLOWED[from].includes(to)) throw new Error(`the connection went from ${from} to ${to}`);
}
