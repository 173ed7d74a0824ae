import type { ConnectionState } from "./types.js";

/**
 * Where the connection stands. `waiting` is the pause before an attempt, `moving` the attempt to get
 * away from a connection that still works: one to a node that stops, or one that polls.
 */
export type Phase =
  | "idle"
  | "connecting"
  | "waiting"
  | "retrying"
  | "connected"
  | "draining"
  | "moving"
  | "stopped";

/** What happens to it. `stopped` needs the app: it connects again only when told to. */
export type Happening =
  | "connect"
  | "opened"
  | "lost"
  | "due"
  | "drain"
  | "move"
  | "stay"
  | "fatal"
  | "disconnect";

const STOP = { disconnect: "idle" } as const;
const END = { ...STOP, fatal: "stopped" } as const;
const TRY = { ...END, opened: "connected", lost: "waiting" } as const;

/** Every transition there is. What is not here is a fault of the kit. */
export const TRANSITIONS: { readonly [P in Phase]: { readonly [H in Happening]?: Phase } } = {
  idle: { ...STOP, connect: "connecting" },
  connecting: TRY,
  waiting: { ...END, due: "retrying" },
  retrying: TRY,
  connected: { ...END, drain: "draining", move: "moving", lost: "waiting" },
  draining: { ...END, move: "moving", lost: "waiting" },
  // The old connection may go at any time: then the attempt under way is the next one.
  moving: { ...TRY, stay: "connected", drain: "moving", lost: "retrying" },
  stopped: { ...STOP, connect: "connecting" },
};

/** What the app is shown of each. */
export const SHOWN: { readonly [P in Phase]: ConnectionState } = {
  idle: "disconnected",
  connecting: "connecting",
  waiting: "reconnecting",
  retrying: "reconnecting",
  connected: "connected",
  draining: "connected",
  moving: "connected",
  stopped: "disconnected",
};

/** The next phase. Throws where there is no such transition. */
export function next(phase: Phase, happening: Happening): Phase {
  const to = TRANSITIONS[phase][happening];
  if (!to) throw new Error(`${phase}: ${happening}`);
  return to;
}
