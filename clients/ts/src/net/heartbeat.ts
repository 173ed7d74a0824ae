import { Timer } from "../timers.js";
import type { Timers } from "../types.js";

/** The time limit for a pong, and the interval of clock checks, in milliseconds. */
const PONG_TIMEOUT_MS = 5_000;
const CLOCK_CHECK_MS = 5_000;

/**
 * Sends pings to detect a dead link. A ping is sent at once when the clock jumps, because a jump means that the device
 * was suspended.
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
    const scheduledAt = timers.now();
    const untilPing = lastFrameAt + maxSilence - scheduledAt;
    const wait = untilPing > 0 ? Math.min(CLOCK_CHECK_MS, untilPing) : CLOCK_CHECK_MS;
    checkTimer.set(wait, () => {
      const now = timers.now();
      const jumped = Math.abs(now - scheduledAt - wait) > PONG_TIMEOUT_MS;
      if (jumped || now - lastFrameAt >= maxSilence) probe();
      scheduleCheck();
    });
  };
  scheduleCheck();
  return {
    probe,
    /** Records a received frame. Must be called for each frame, because any frame proves that the link works. */
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
