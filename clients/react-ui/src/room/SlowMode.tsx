import type { Message } from "@tidings/client";
import { useMessages, useOutbox } from "@tidings/react";
import { plural } from "../logic/names.js";
import { countdown } from "../logic/time.js";
import { useNow } from "../state/useNow.js";
import { slowModeOf } from "./permissions.js";
import { useRoomContext } from "./roomContext.js";

/** Says below the input that the room has slow mode, and when the user can send again. */
export function SlowModeLine() {
  const { summary } = useRoomContext();
  const seconds = slowModeOf(summary);
  if (seconds === 0) return null;
  const every = seconds % 60 === 0 ? plural(seconds / 60, "minute") : plural(seconds, "second");
  return (
    <p className="tidings-composer-limit" data-testid="slow-mode">
      {`Slow mode: one message in ${every}.`} <NextTime seconds={seconds} />
    </p>
  );
}

function NextTime({ seconds }: { seconds: number }) {
  const { room } = useRoomContext();
  const now = useNow(1_000);
  const { items } = useMessages(room);
  const waiting = useOutbox().items.find((entry) => entry.room === room && (entry.retryAt ?? 0) > now);
  const last = items.findLast(({ mine, status }) => mine && status === "sent");
  const ms = seconds * 1_000;
  // The clock of the device may be wrong, so the time that the server gave counts first.
  const left = waiting?.retryAt ? waiting.retryAt - now : Math.min(ms, (last?.at ?? 0) + ms - now);
  // Screen readers read the line with the input, and do not announce each second.
  return left > 0 ? <span aria-live="off">You can send again in {countdown(left)}.</span> : null;
}

/** Says at a message that the server has refused for now when it will be sent. */
export function SendsIn({ message }: { message: Message }) {
  const now = useNow(1_000);
  const { retryAt = 0 } = message;
  return retryAt > now ? <span>sends in {countdown(retryAt - now)}</span> : null;
}
