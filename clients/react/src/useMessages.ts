import type {
  Message,
  MessageList,
  Room,
  RoomPosition,
  RoomState,
  SendOptions,
  SystemEvent,
  TidingsClientLike,
  TidingsError,
} from "@tidings/client";
import { useEffect, useMemo, useRef } from "react";
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
  /** Whether the room has messages newer than the last of `items`. The user's unsent messages come after this gap. */
  readonly hasNewer: boolean;
  /** Whether newer messages are being loaded. */
  readonly loadingNewer: boolean;
  /** The changes of members and of the room among `items`, ascending by seq. */
  readonly systemEvents: readonly SystemEvent[];
  /** The phase of the room. In `live` no message is missing. */
  readonly phase: RoomState["phase"];
  /** The error of the last load, or the reason why the room `failed`. */
  readonly error: TidingsError | undefined;
  /**
   * Loads older messages. Resolves to true if loading succeeded and the room has still older messages. Never rejects.
   */
  readonly loadOlder: (count?: number) => Promise<boolean>;
  /** Loads newer messages, in the same way as `loadOlder`. */
  readonly loadNewer: (count?: number) => Promise<boolean>;
  /** Shows the messages around a position. Resolves to true if the position is then loaded. Never rejects. */
  readonly jumpTo: (at: RoomPosition) => Promise<boolean>;
  /** Shows the newest messages. Never rejects. */
  readonly jumpToLatest: () => Promise<boolean>;
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

/** The options of `useMessages`. */
export interface MessagesOptions {
  /**
   * Where the list starts, by default at its `end`. `unread` starts at the first unread message. The hook uses the
   * option when it opens the room.
   */
  readonly at?: RoomPosition | undefined;
}

const EMPTY_LIST: MessageList = {
  items: [],
  hasOlder: false,
  loadingOlder: false,
  hasNewer: false,
  loadingNewer: false,
  systemEvents: [],
};

/**
 * The messages of a room, kept up to date. The room is open while the hook is mounted. When the last hook of a room
 * unmounts, it releases the room and drops the older messages. The hook renders only when this room's messages change.
 */
export function useMessages(roomId: string, { at = "end" }: MessagesOptions = {}): MessagesResult {
  const client = useTidings();
  const room = client.room(roomId);
  const startPosition = useRef(at);
  useEffect(() => {
    startPosition.current = at;
  });
  useEffect(() => openRoom(room, startPosition.current), [room]);
  const list = useStore(room.messages, EMPTY_LIST);
  const phase = useSelected(room.state, phaseOf, "closed");
  const failure = useSelected(room.state, errorOf, undefined);
  return useMemo(
    () => ({ ...list, phase, error: list.error ?? failure, ...commandsOf(client, room) }),
    [client, room, list, phase, failure],
  );
}

const phaseOf = (state: RoomState) => state.phase;
const errorOf = (state: RoomState) => state.error;

type Commands = Omit<MessagesResult, keyof MessageList | "phase">;
const commandsByRoom = new WeakMap<Room, Commands>();

/** Returns the same functions for a room each time, so that effects and memoised children can depend on them. */
function commandsOf({ outbox }: TidingsClientLike, room: Room): Commands {
  let commands = commandsByRoom.get(room);
  if (commands === undefined) {
    commands = {
      loadOlder: (count) => room.loadOlder(count).catch(() => false),
      loadNewer: (count) => room.loadNewer(count).catch(() => false),
      jumpTo: (at) => room.jumpTo(at).catch(() => false),
      jumpToLatest: () => room.jumpToLatest().catch(() => false),
      send: (content, options) => room.send(content, options),
      retry: outbox.retry,
      discard: outbox.discard,
    };
    commandsByRoom.set(room, commands);
  }
  return commands;
}

const mountedListCounts = new WeakMap<Room, number>();

/**
 * Opens the room. When the last hook of the room unmounts, drops the older messages, unless the app keeps the room
 * open.
 */
function openRoom(room: Room, at: RoomPosition): () => void {
  const mountedCount = mountedListCounts.get(room) ?? 0;
  mountedListCounts.set(room, mountedCount + 1);
  // If another list of the room is mounted already, this one must not move it to another position.
  const release = mountedCount ? room.open() : room.openAround(at);
  return () => {
    const remaining = (mountedListCounts.get(room) ?? 1) - 1;
    mountedListCounts.set(room, remaining);
    release();
    if (remaining === 0 && room.state.get().phase === "closed") room.trim();
  };
}
