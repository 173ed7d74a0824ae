import { errorFrom, TidingsError } from "../errors.js";
import type { ServerFrame } from "../protocol/frames.js";
import { withTimeout } from "../timers.js";
import type { Timers } from "../types.js";

/** The longest time that a request waits for its answer, in milliseconds. */
const ANSWER_TIMEOUT_MS = 5_000;

/** Matches answers with their requests. */
export function createRequests(timers: Timers) {
  const waiting = new Map<string, (answer: ServerFrame | TidingsError) => void>();
  let count = 0;
  return {
    /**
     * Calls `send` with a new ref and waits for the answer. Rejects with TidingsError: the error of `send` or of the
     * server, `timeout` after 5 s, or `disconnected`.
     */
    async send(send: (ref: string) => void): Promise<ServerFrame> {
      const ref = (++count).toString(36);
      const answered = () =>
        new Promise<ServerFrame>((resolve, reject) => {
          waiting.set(ref, (answer) => (answer instanceof TidingsError ? reject(answer) : resolve(answer)));
          send(ref);
        });
      try {
        return await withTimeout(timers, ANSWER_TIMEOUT_MS, answered);
      } finally {
        waiting.delete(ref);
      }
    },
    /** Passes an answer to the request with the same ref. Ignores the frame if no request waits for it. */
    answer(frame: ServerFrame): void {
      const { ref } = frame as { ref?: string };
      if (ref) waiting.get(ref)?.(frame.type === "error" ? errorFrom(frame, frame.code) : frame);
    },
    /** Fails all waiting requests, because the connection has ended. */
    close(): void {
      for (const settle of [...waiting.values()]) settle(new TidingsError("disconnected"));
    },
  };
}
