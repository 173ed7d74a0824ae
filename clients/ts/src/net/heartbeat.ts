import { Timer } from "../timers.js";
import type { Timers } from "../types.js";

/** The time limit for a pong, and the interval of clock checks, in milliseconds. */
const PONG_TIMEOUT_MS = 5_000;
const CHECK_MS = 5_000;

/**
 * Sends pings to detect a dead link. A ping is sent at once when the clock jumps, because the device has slept.
 * @param maxSilence milliseconds without a frame before a ping
 * @param onDead called when a ping was not answered in time
 */
export function createHeartbeat(timers: Timers, maxSilence: number, ping: () => void, onDead: () => void) {
  const checkTimer = new Timer(timers);
  const pongTimer = new Timer(timers);
  let lastFrameAt = timers.now();
  /** Sends a ping, unless an earlier ping is still unanswered. */
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
    /** Must be called for each received frame, because any frame proves that the link works. */
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
