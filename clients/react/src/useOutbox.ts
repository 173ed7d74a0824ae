import type { OutboxEntry } from "@tidings/client";
import { useMemo } from "react";
import { useTidings } from "./context.js";
import { useStore } from "./useStore.js";

/** What waits to be sent, of all rooms. */
export interface OutboxResult {
  /** The oldest first. */
  readonly items: readonly OutboxEntry[];
  /** Sends a failed one again, under the same client id unless it was `rejected`: that id is taken for ever. */
  readonly retry: (clientId: string) => void;
  /** Sends all failed ones again. */
  readonly retryAll: () => void;
  /** Drops a failed one. */
  readonly discard: (clientId: string) => void;
}

const NOTHING: readonly OutboxEntry[] = [];

/** The outbox: for a line such as "3 messages wait for a connection", and for what failed in rooms that are not shown. */
export function useOutbox(): OutboxResult {
  const { outbox } = useTidings();
  const items = useStore(outbox, NOTHING);
  return useMemo(
    () => ({ items, retry: outbox.retry, retryAll: outbox.retryAll, discard: outbox.discard }),
    [outbox, items],
  );
}
