import type { ConnectionState } from "./types.js";

/**
 * The public state for each phase of the connection. `waiting` is the pause before an attempt. In `moving` the current
 * link still works while an attempt opens another link, because the node is stopping or the link uses polls.
 */
export const PUBLIC_STATES = {
  idle: "disconnected",
  connecting: "connecting",
  waiting: "reconnecting",
  retrying: "reconnecting",
  connected: "connected",
  draining: "connected",
  moving: "connected",
  stopped: "disconnected",
} as const satisfies { readonly [phase: string]: ConnectionState };

export type ConnectionPhase = keyof typeof PUBLIC_STATES;

/** The events that change the phase of the connection. After `fatal` only the app can connect again. */
export type ConnectionEvent =
  | "connect"
  | "opened"
  | "lost"
  | "retry"
  | "drain"
  | "move"
  | "failed"
  | "fatal"
  | "disconnect";

const CAN_DISCONNECT = { disconnect: "idle" } as const;
const CAN_END = { ...CAN_DISCONNECT, fatal: "stopped" } as const;
const ATTEMPT = { ...CAN_END, opened: "connected", lost: "waiting" } as const;

/** The allowed transitions of each phase. Any other transition is a bug of the kit. */
export const TRANSITIONS: {
  readonly [P in ConnectionPhase]: { readonly [H in ConnectionEvent]?: ConnectionPhase };
} = {
  idle: { ...CAN_DISCONNECT, connect: "connecting" },
  connecting: ATTEMPT,
  waiting: { ...CAN_END, retry: "retrying" },
  retrying: ATTEMPT,
  connected: { ...CAN_END, drain: "draining", move: "moving", lost: "waiting" },
  draining: { ...CAN_END, move: "moving", lost: "waiting" },
  // If the old link is lost meanwhile, the running attempt becomes the reconnect attempt (`retrying`).
  moving: { ...ATTEMPT, failed: "connected", drain: "moving", lost: "retrying" },
  stopped: { ...CAN_DISCONNECT, connect: "connecting" },
};

/** Returns the next phase. Throws when the transition is not allowed. */
export function nextPhase(phase: ConnectionPhase, event: ConnectionEvent): ConnectionPhase {
  const to = TRANSITIONS[phase][event];
  if (!to) throw new Error(`${phase}: ${event}`);
  return to;
}
