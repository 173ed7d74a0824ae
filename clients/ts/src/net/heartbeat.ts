import { Timer } from "../timers.js";
import type { Timers } from "../types.js";

/** The time limit for a pong, and the interval of clock checks, in milliseconds. */
const PONG_TIMEOUT_MS = 5_000;
const CHECK_MS = 5_000;

/**
 * Detects a dead link. A jump of the clock means that the device slept; then a ping goes out at once.
 * @param maxSilence milliseconds without a frame before a ping
 * @param onDead called when a ping was not answered in time
 */
export function createHeartbeat(timers: Timers, maxSilence: number, ping: () => void, onDead: () => void) {
  const checkTimer = new Timer(timers);
  const pongTimer = new Timer(timers);
  let lastFrameAt = timers.now();
  /** Sends a ping, unless one is already unanswered. */
  const probe = (): void => {
    if (pongTimer.pending) return;
    pongTimer.set(PONG_TIMEOUT_MS, onDead);
    ping();
  };
  const scheduleCheck = (): void => {
    const before = timers.now();
    const due = lastFrameAt + maxSilence - before;
    const wait = due > 0 ? Math.min(CHECK_MS, due) : CHECK_MS;
    checkTimer.set(wait, () => {
      const now = timers.now();
      const jumped = Math.abs(now - before - wait) > PONG_TIMEOUT_MS;
      if (jumped || now - lastFrameAt >= maxSilence) probe();
      scheduleCheck();
    });
  };
  scheduleCheck();
  return {
    probe,
    /** A frame was received. */
    received(): void {
      lastFrameAt = timers.now();
      pongTimer.clear();
    },
    stop(): void {
      checkTimer.clear();
      pongTimer.clear();
    },
  };
}
