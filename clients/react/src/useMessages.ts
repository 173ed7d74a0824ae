import type {
  Message,
  MessageList,
  Room,
  RoomState,
  SendOptions,
  TidingsClient,
  TidingsError,
} from "@tidings/client";
import { useEffect, useMemo } from "react";
import { useTidings } from "./context.js";
import { usePart, useStore } from "./useStore.js";

/** The messages of a room, and what is done with them. */
export interface MessagesResult {
  /** Ascending, one's own unsent ones last. Use `key` as React's key: it stays when a message is acked. */
  readonly items: readonly Message[];
  /** Whether there are older ones than the first of `items`. */
  readonly hasOlder: boolean;
  /** Whether older ones are on their way. */
  readonly loadingOlder: boolean;
  /** Where the room stands: `live` when all is there. */
  readonly phase: RoomState["phase"];
  /** Why messages could not be loaded, or why the room `failed`. */
  readonly error: TidingsError | undefined;
  /** Loads older ones; false when there are none, or when it failed. Never rejects. */
  readonly loadOlder: (count?: number) => Promise<boolean>;
  /**
   * Sends: the message is among `items` at once, as `sending`.
   *
   * @throws TidingsError `outbox_full` when too much waits to be sent.
   */
  readonly send: (content: string, options?: SendOptions) => Message;
  /** Sends a `failed` message again, under the same client id unless it was `rejected`: that id is taken for ever. */
  readonly retry: (clientId: string) => void;
  /** Drops a `failed` message. */
  readonly discard: (clientId: string) => void;
}

const EMPTY: MessageList = { items: [], hasOlder: false, loadingOlder: false };

/**
 * A room's messages, kept true. Opens the room while mounted; the last to go releases it, and what was loaded of the
 * past with it. Renders for what happens in this room's messages and for nothing else.
 */
export function useMessages(roomId: string): MessagesResult {
  const client = useTidings();
  const room = client.room(roomId);
  useEffect(() => open(room), [room]);
  const { items, hasOlder, loadingOlder, error } = useStore(room.messages, EMPTY);
  const phase = usePart(room.state, phaseOf, "closed");
  const failure = usePart(room.state, errorOf, undefined);
  return useMemo(
    () => ({ items, hasOlder, loadingOlder, phase, error: error ?? failure, ...commands(client, room) }),
    [client, room, items, hasOlder, loadingOlder, phase, error, failure],
  );
}

const phaseOf = (state: RoomState) => state.phase;
const errorOf = (state: RoomState) => state.error;

type Commands = Pick<MessagesResult, "loadOlder" | "send" | "retry" | "discard">;
const made = new WeakMap<Room, Commands>();

/** The same functions for the same room, so that effects and memoised children can depend on them. */
function commands({ outbox }: TidingsClient, room: Room): Commands {
  let known = made.get(room);
  if (known === undefined) {
    known = {
      loadOlder: (count) => room.loadOlder(count).catch(() => false),
      send: (content, options) => room.send(content, options),
      retry: outbox.retry,
      discard: outbox.discard,
    };
    made.set(room, known);
  }
  return known;
}

const shown = new WeakMap<Room, number>();

/** Opens the room; only the last of several lists that show it trims what was loaded, unless the app holds it open. */
function open(room: Room): () => void {
  shown.set(room, (shown.get(room) ?? 0) + 1);
  const release = room.open();
  return () => {
    const left = (shown.get(room) ?? 1) - 1;
    shown.set(room, left);
    release();
    if (left === 0 && room.state.get().phase === "closed") room.trim();
  };
}
