import { errorFrom, TidingsError } from "../errors.js";
import type { ServerFrame } from "../protocol/frames.js";
import { withTimeout } from "../timers.js";
import type { Timers } from "../types.js";

/** The longest time that a request waits for its answer, in milliseconds. */
const ANSWER_TIMEOUT_MS = 5_000;

/** Matches answers with their requests. */
export function createRequests(timers: Timers) {
  const pending = new Map<string, [(answer: ServerFrame) => void, (error: TidingsError) => void]>();
  let refCount = 0;
  return {
    /**
     * Calls `send` with a ref, by default a new one, and waits for the answer. Rejects with TidingsError: the error of
     * `send` or of the server, `timeout` after 5 s, or `disconnected`.
     */
    async send(send: (ref: string) => void, ref = (++refCount).toString(36)): Promise<ServerFrame> {
      const sendAndWait = () =>
        new Promise<ServerFrame>((...settle) => {
          pending.set(ref, settle);
          send(ref);
        });
      try {
        return await withTimeout(timers, ANSWER_TIMEOUT_MS, sendAndWait);
      } finally {
        pending.delete(ref);
      }
    },
    /** Passes an answer to the request with the same ref. Ignores the frame if no request waits for it. */
    answer(frame: ServerFrame): void {
      const [resolve, reject] = pending.get((frame as { ref?: string }).ref ?? "") ?? [];
      if (frame.type === "error") reject?.(errorFrom(frame, frame.code));
      else resolve?.(frame);
    },
    /** Fails all waiting requests, because the connection has ended. */
    close(): void {
      for (const [, reject] of pending.values()) reject(new TidingsError("disconnected"));
    },
  };
}
