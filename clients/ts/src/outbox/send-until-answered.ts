import type { Env } from "../env.js";
import { asError, type TidingsError } from "../errors.js";
import type { ServerConnection } from "../net/connection.js";
import type { ClientFrame } from "../protocol/frames.js";
import { type Pause, pause } from "../timers.js";
import type { Entry } from "./entry.js";

/**
 * The pauses, in milliseconds, before a command that timed out or got `internal` is sent again. After the last pause
 * another failure is final, unless the command is known to be accepted.
 */
const RETRY_PAUSES_MS = [1_000, 2_000, 4_000];
/** Also the longest pause after a refusal, because slow mode may be switched off before its time is over. */
const MAX_PAUSE_MS = 30_000;
/** The pause after a temporary refusal that names no delay, in milliseconds. */
const DEFAULT_PAUSE_MS = 1_000;

/** A running attempt to send one entry. `ended` tells it to stop; the owner must then also end the pause. */
export interface SendTask {
  ended: boolean;
  pause?: Pause;
}

/** Whether the same command may succeed later. */
const isTemporary = ({ code }: TidingsError) => /^(unavailable|overloaded|rate_limited)$/.test(code);

/**
 * Sends the frame of an entry until it is answered or the task has ended, across reconnects. A timeout or `internal` is
 * retried three times on one connection; for an accepted entry, and after temporary refusals, without limit. Rejects
 * with the permanent refusal, or with the last failure.
 * @param refused called with the earliest time for another attempt when a temporary refusal names it
 */
export async function sendUntilAnswered(
  env: Env,
  connection: ServerConnection,
  entry: Entry,
  task: SendTask,
  makeFrame: () => ClientFrame,
  refused: (retryAt: number) => void,
): Promise<void> {
  let failures = 0;
  for (;;) {
    await connection.whenUp();
    if (task.ended) return;
    let wait: number;
    try {
      await connection.request(makeFrame());
      return;
    } catch (thrown) {
      const error = asError(thrown);
      if (error.code === "disconnected" || error.code === "closed") {
        // The connection ended before the answer, so the count of failures starts again.
        failures = 0;
        continue;
      }
      if (isTemporary(error)) {
        const { retryAfterMs } = error;
        wait = Math.min(retryAfterMs ?? DEFAULT_PAUSE_MS, MAX_PAUSE_MS);
        if (retryAfterMs && !task.ended) refused(env.timers.now() + retryAfterMs);
      } else if (error.code === "timeout" || error.code === "internal") {
        wait = RETRY_PAUSES_MS[failures++] ?? MAX_PAUSE_MS;
        if (failures > RETRY_PAUSES_MS.length && !entry.acceptance) throw error;
      } else throw error;
    }
    if (task.ended) return;
    task.pause = pause(env.timers, wait);
    await task.pause.done;
  }
}
