import type { Core } from "../core.js";
import { asError, isPermanent } from "../errors.js";
import { Timer } from "../timers.js";

const DEFAULT_RETRY_MS = 2_000;

/**
 * Makes a read or delivered mark of the current user. The mark only moves forward, and the kit sends the mark until the
 * server has it.
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
  /** Records that the server has stored the mark at `seq`, perhaps for another device of the user. */
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
      // A permanent refusal, for example of a removed member, would come again. The mark then counts as stored, so that
      // no retry follows.
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
    /** Returns the highest seq that the server has confirmed or permanently refused. */
    stored: (): number => stored,
    confirm,
    /** Moves the mark forward. The new mark is sent within `ms` milliseconds. */
    move(seq: number, ms = delay): void {
      if (!(seq > wanted)) return;
      wanted = seq;
      schedule(ms);
    },
    /** Sends a pending mark after a reconnect. */
    up: (): void => schedule(0),
    stop: (): void => timer.clear(),
    /** Resets the mark for another user or another membership. */
    reset(): void {
      timer.clear();
      generation++;
      wanted = stored = 0;
      sending = false;
    },
  };
}

export type Watermark = ReturnType<typeof createWatermark>;
