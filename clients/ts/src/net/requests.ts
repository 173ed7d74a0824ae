import { errorFrom, TidingsError } from "../errors.js";
import type { ServerFrame } from "../protocol/frames.js";
import { within } from "../timers.js";
import type { Timers } from "../types.js";

/** How long an answer is waited for, in milliseconds. */
export const ANSWER_MS = 5_000;

/** Brings answers to those who asked. */
export class Requests {
  readonly #timers: Timers;
  readonly #waiting = new Map<string, (answer: ServerFrame | TidingsError) => void>();
  #count = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Makes a ref, sends with it, and waits for the answer to it. Rejects with what `send` throws. */
  async ask(send: (ref: string) => void): Promise<ServerFrame> {
    const ref = (++this.#count).toString(36);
    const answered = () =>
      new Promise<ServerFrame>((resolve, reject) => {
        this.#waiting.set(ref, (answer) =>
          answer instanceof TidingsError ? reject(answer) : resolve(answer),
        );
        send(ref);
      });
    try {
      return await within(this.#timers, ANSWER_MS, answered);
    } finally {
      this.#waiting.delete(ref);
    }
  }

  /** Takes an answer; one that came too late, or was never asked for, changes nothing. */
  answer(frame: ServerFrame): void {
    const { ref } = frame as { ref?: string };
    if (ref) this.#waiting.get(ref)?.(frame.type === "error" ? errorFrom(frame, frame.code) : frame);
  }

  /** The connection is gone, and with it all answers. */
  drop(): void {
    for (const settle of [...this.#waiting.values()]) settle(new TidingsError("disconnected"));
  }
}
