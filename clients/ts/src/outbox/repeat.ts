import { asError, type TidingsError } from "../errors.js";
import type { Connection } from "../net/connection.js";
import type { ClientFrame, ServerFrame } from "../protocol/frames.js";
import { type Pause, pause } from "../timers.js";
import type { Timers } from "../types.js";

/** Pauses before what was not answered is sent again, in milliseconds; then it has failed. */
const PAUSES = [1_000, 2_000, 4_000];
const LONGEST_MS = 30_000;
/** For a refusal for now that tells no delay. */
const UNTOLD_MS = 1_000;

/** What a repetition works with. */
export interface Line {
  readonly connection: Connection;
  readonly env: { readonly timers: Timers };
}

/** Who may take part in a repetition. */
export interface Watch {
  /** False once nobody waits for the answer any more. */
  alive?(): boolean;
  /** What is known to be accepted cannot fail, however long it takes to hear of it. */
  accepted?(): boolean;
  /** A pause began that may be cut short. */
  pausing?(pause: Pause): void;
}

/** Whether the same may well be taken later. */
const passing = ({ code }: TidingsError) => /^(unavailable|overloaded|rate_limited)$/.test(code);

/**
 * Sends a command until it is answered, over as many connections as it takes. Only time on one that stays
 * counts: an answer that does not come, and `internal`, three more times; what passes is waited out.
 * Rejects with the definite refusal, or with the last failure. Resolves with undefined when nobody waits.
 */
export async function repeat(
  line: Line,
  make: () => ClientFrame,
  watch: Watch = {},
): Promise<ServerFrame | undefined> {
  let failures = 0;
  for (;;) {
    await line.connection.whenUp();
    if (watch.alive?.() === false) return undefined;
    let wait: number;
    try {
      return await line.connection.request(make());
    } catch (thrown) {
      const error = asError(thrown);
      if (error.code === "disconnected" || error.code === "closed") {
        // Nobody was there to answer: of what waits in the outbox only one connection is counted.
        if (watch.accepted) failures = 0;
        continue;
      }
      if (passing(error)) wait = error.retryAfterMs ?? UNTOLD_MS;
      else if (error.code === "timeout" || error.code === "internal") {
        wait = PAUSES[failures++] ?? LONGEST_MS;
        if (failures > PAUSES.length && !watch.accepted?.()) throw error;
      } else throw error;
    }
    const waiting = pause(line.env.timers, wait);
    watch.pausing?.(waiting);
    await waiting.done;
  }
}
