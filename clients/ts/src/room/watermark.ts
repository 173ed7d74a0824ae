import type { Core } from "../core.js";
import { asError, isPermanent } from "../errors.js";
import { Timer } from "../timers.js";

const DEFAULT_RETRY_MS = 2_000;

/**
 * A read or delivered mark of the current user. It only moves forward; the kit sends it until the server has
 * it.
 * @param delay milliseconds in which several moves are sent as one
 * @param onConfirmed called when the server has the mark
 */
export function createWatermark(
  core: Core,
  type: "message:read" | "message:delivered",
  room: string,
  delay: number,
  onConfirmed: () => void,
) {
  const timer = new Timer(core.env.timers);
  let wanted = 0;
  let stored = 0;
  let sending = false;
  let generation = 0;
  const schedule = (ms: number): void => {
    if (timer.pending || sending || wanted <= stored) return;
    timer.set(ms, () => void send());
  };
  /** The server has stored the mark at `seq`. This device or another one may have moved it. */
  const confirm = (seq: number): void => {
    stored = Math.max(stored, seq);
    wanted = Math.max(wanted, seq);
  };
  const send = async (): Promise<void> => {
    const seq = wanted;
    if (seq <= stored || !core.connection.up) return;
    const before = generation;
    sending = true;
    let wait = delay;
    try {
      await core.connection.request({ type, room, seq });
      if (before !== generation) return;
      confirm(seq);
      onConfirmed();
    } catch (thrown) {
      const error = asError(thrown);
      // A permanent refusal, for example of a removed member, would come again. The mark counts
      // as stored, so no retry follows.
      if (isPermanent(error) && before === generation) stored = seq;
      wait = error.retryAfterMs ?? DEFAULT_RETRY_MS;
    } finally {
      if (before === generation) {
        sending = false;
        schedule(wait);
      }
    }
  };
  return {
    /** The mark that the server is known to have. */
    stored: (): number => stored,
    confirm,
    /** Moves the mark forward; it is sent within `ms` milliseconds. */
    move(seq: number, ms = delay): void {
      if (!(seq > wanted)) return;
      wanted = seq;
      schedule(ms);
    },
    /** The client is connected again. */
    up: (): void => schedule(0),
    stop: (): void => timer.clear(),
    /** Starts again for another user or another membership. */
    reset(): void {
      timer.clear();
      generation++;
      wanted = stored = 0;
      sending = false;
    },
  };
}

export type Watermark = ReturnType<typeof createWatermark>;
