import type { Core } from "../core.js";
import { asError, isPermanent } from "../errors.js";
import { Timer } from "../timers.js";

const DEFAULT_RETRY_MS = 2_000;

/**
 * Makes a read or delivered mark of the current user. The mark only moves forward, and the kit sends the mark until the
 * server has it.
 * @param delay milliseconds for which several moves are collected into one command
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
  let wantedSeq = 0;
  let storedSeq = 0;
  let sending = false;
  let generation = 0;
  const schedule = (ms: number): void => {
    if (timer.pending || sending || wantedSeq <= storedSeq) return;
    timer.set(ms, () => void send());
  };
  /** Records that the server has stored the mark at `seq`, perhaps for another device of the user. */
  const confirm = (seq: number): void => {
    storedSeq = Math.max(storedSeq, seq);
    wantedSeq = Math.max(wantedSeq, seq);
  };
  const send = async (): Promise<void> => {
    const seq = wantedSeq;
    if (seq <= storedSeq || !core.connection.up) return;
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
      // After a permanent refusal, for example of a removed member, a retry would fail again. So the mark counts as
      // stored.
      if (isPermanent(error) && before === generation) storedSeq = seq;
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
    stored: (): number => storedSeq,
    confirm,
    /** Moves the mark forward. The new mark is sent within `ms` milliseconds. */
    move(seq: number, ms = delay): void {
      if (!(seq > wantedSeq)) return;
      wantedSeq = seq;
      schedule(ms);
    },
    /** Sends a pending mark after a reconnect. */
    up: (): void => schedule(0),
    stop: (): void => timer.clear(),
    /** Resets the mark for another user or another membership. */
    reset(): void {
      timer.clear();
      generation++;
      wantedSeq = storedSeq = 0;
      sending = false;
    },
  };
}

export type Watermark = ReturnType<typeof createWatermark>;
