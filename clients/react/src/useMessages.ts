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
import { useSelected, useStore } from "./useStore.js";

/** The messages of a room, and functions to work with them. */
export interface MessagesResult {
  /** In ascending order, with the user's unsent messages last. Use `key` as React's key, because it never changes. */
  readonly items: readonly Message[];
  /** Whether the room has messages older than the first of `items`. */
  readonly hasOlder: boolean;
  /** Whether older messages are being loaded. */
  readonly loadingOlder: boolean;
  /** The phase of the room. In `live` no message is missing. */
  readonly phase: RoomState["phase"];
  /** The error of the last load, or the reason why the room `failed`. */
  readonly error: TidingsError | undefined;
  /**
   * Loads older messages. Resolves to whether the room has still older messages, and to false
   * when loading failed. Never rejects.
   */
  readonly loadOlder: (count?: number) => Promise<boolean>;
  /**
   * Sends a message. The message is in `items` at once, with the status `sending`.
   *
   * @throws TidingsError `outbox_full` when too many messages wait to be sent.
   */
  readonly send: (content: string, options?: SendOptions) => Message;
  /** Sends a `failed` message again, with a new client id if the server `rejected` the message. */
  readonly retry: (clientId: string) => void;
  /** Removes a `failed` message. */
  readonly discard: (clientId: string) => void;
}

const EMPTY: MessageList = { items: [], hasOlder: false, loadingOlder: false };

/**
 * The messages of a room, kept up to date. The room is open while the hook is mounted. When the last hook of a room
 * unmounts, it releases the room and drops the older messages. The hook renders only when this room's messages change.
 */
export function useMessages(roomId: string): MessagesResult {
  const client = useTidings();
  const room = client.room(roomId);
  useEffect(() => openRoom(room), [room]);
  const { items, hasOlder, loadingOlder, error } = useStore(room.messages, EMPTY);
  const phase = useSelected(room.state, phaseOf, "closed");
  const failure = useSelected(room.state, errorOf, undefined);
  return useMemo(
    () => ({ items, hasOlder, loadingOlder, phase, error: error ?? failure, ...commandsOf(client, room) }),
    [client, room, items, hasOlder, loadingOlder, phase, error, failure],
  );
}

const phaseOf = (state: RoomState) => state.phase;
const errorOf = (state: RoomState) => state.error;

type Commands = Pick<MessagesResult, "loadOlder" | "send" | "retry" | "discard">;
const commandsByRoom = new WeakMap<Room, Commands>();

/** Returns always the same functions for a room, so that effects and memoised children can depend on them. */
function commandsOf({ outbox }: TidingsClient, room: Room): Commands {
  let known = commandsByRoom.get(room);
  if (known === undefined) {
    known = {
      loadOlder: (count) => room.loadOlder(count).catch(() => false),
      send: (content, options) => room.send(content, options),
      retry: outbox.retry,
      discard: outbox.discard,
    };
    commandsByRoom.set(room, known);
  }
  return known;
}

const mountedLists = new WeakMap<Room, number>();

/**
 * Opens the room. When the last hook of the room unmounts, drops the older messages, unless the app keeps the room
 * open.
 */
function openRoom(room: Room): () => void {
  mountedLists.set(room, (mountedLists.get(room) ?? 0) + 1);
  const release = room.open();
  return () => {
    const left = (mountedLists.get(room) ?? 1) - 1;
    mountedLists.set(room, left);
    release();
    if (left === 0 && room.state.get().phase === "closed") room.trim();
  };
}
