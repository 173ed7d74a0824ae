import type { ConnectionState } from "./types.js";

/**
 * The public state for each phase of the connection. `waiting` is the pause before an attempt. In `moving` the current
 * link still works while an attempt opens another link, because the node is stopping or the link uses polls. After
 * `stopped` only the app can connect again.
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
