import type { Core } from "../core.js";
import { asError, type TidingsError } from "../errors.js";
import type { ClientFrame, ServerFrame } from "../protocol/frames.js";
import { type Pause, pause } from "../timers.js";

/**
 * The pauses, in milliseconds, before a command that timed out or got `internal` is sent again. The next failure is
 * final, unless the command is known to be accepted.
 */
const RETRY_PAUSES_MS = [1_000, 2_000, 4_000];
const MAX_PAUSE_MS = 30_000;
/** The pause after a temporary refusal that names no delay, in milliseconds. */
const DEFAULT_PAUSE_MS = 1_000;

/** The callbacks of `sendUntilAnswered`. */
interface RepeatObserver {
  /** Returns false once the caller does not need the answer. */
  alive?(): boolean;
  /** Returns true once the command is known to be accepted. From then on missing answers never make it fail. */
  accepted?(): boolean;
  /** Called when a pause begins; `pause.end()` ends the pause early. */
  paused?(pause: Pause): void;
}

/** Whether the same command may succeed later. */
const isTemporary = ({ code }: TidingsError) => /^(unavailable|overloaded|rate_limited)$/.test(code);

/**
 * Sends a command until it is answered, across reconnects. A timeout or `internal` is retried three times; temporary
 * refusals are retried without limit. Rejects with the permanent refusal, or with the last failure. Resolves with
 * undefined once `alive` returns false.
 */
export async function sendUntilAnswered(
  { connection, env }: Pick<Core, "connection" | "env">,
  make: () => ClientFrame,
  observer: RepeatObserver = {},
): Promise<ServerFrame | undefined> {
  let failures = 0;
  for (;;) {
    await connection.whenUp();
    if (observer.alive?.() === false) return undefined;
    let wait: number;
    try {
      return await connection.request(make());
    } catch (thrown) {
      const error = asError(thrown);
      if (error.code === "disconnected" || error.code === "closed") {
        // The connection ended before the answer. For the outbox (the only caller with `accepted`) the count of
        // failures then starts again.
        if (observer.accepted) failures = 0;
        continue;
      }
      if (isTemporary(error)) wait = error.retryAfterMs ?? DEFAULT_PAUSE_MS;
      else if (error.code === "timeout" || error.code === "internal") {
        wait = RETRY_PAUSES_MS[failures++] ?? MAX_PAUSE_MS;
        if (failures > RETRY_PAUSES_MS.length && !observer.accepted?.()) throw error;
      } else throw error;
    }
    const waiting = pause(env.timers, wait);
    observer.paused?.(waiting);
    await waiting.done;
  }
}
