import type { OutboxEntry } from "@tidings/client";
import { useMemo } from "react";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** The messages in the outbox: the messages of all rooms that are not stored yet or have failed. */
export interface OutboxResult {
  /** The messages, oldest first. */
  readonly items: readonly OutboxEntry[];
  /** Sends a failed message again, with a new client id if the server `rejected` the message. */
  readonly retry: (clientId: string) => void;
  /** Sends all failed messages again. */
  readonly retryAll: () => void;
  /** Removes a failed message. */
  readonly discard: (clientId: string) => void;
}

const NO_ENTRIES: readonly OutboxEntry[] = [];

/** The outbox. Use it to show "3 messages wait to be sent", or failed messages of rooms that are not on the screen. */
export function useOutbox(): OutboxResult {
  const { outbox } = useTidings();
  const items = useStore(outbox, NO_ENTRIES);
  return useMemo(
    () => ({ items, retry: outbox.retry, retryAll: outbox.retryAll, discard: outbox.discard }),
    [outbox, items],
  );
}
