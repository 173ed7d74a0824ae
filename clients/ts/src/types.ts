/** The public types of the kit. */
import type { Env } from "./env.js";
import type { TidingsError } from "./errors.js";
import type { PollLink } from "./net/poll.js";
import type { Transport } from "./net/transport.js";
import type { Entry } from "./outbox/entry.js";
import type { Endpoint, Lifecycle, Timers, WebSocketConstructor } from "./platform.js";
import type { LogEvent, ServerFrame } from "./protocol/frames.js";
import type { Attachment, Limits, Member, PresenceStatus, RoomKind, VisibleTo } from "./protocol/objects.js";
import type { EntryStore } from "./storage/tab-entry-store.js";

export type * from "./platform.js";

/** A value that reports its changes, made for React's useSyncExternalStore. Its functions need no `this`. */
export interface Store<T> {
  /** Returns the value: the same object until it changes. */
  readonly get: () => T;
  /** Calls the listener after each change. Returns a function that removes the listener. */
  readonly subscribe: (listener: () => void) => () => void;
}

/** The options of a client. */
export interface ClientOptions {
  /** The origin of the server, http or https, which also gives the origin of the WebSocket. */
  readonly url: Endpoint;
  /** The origin of the HTTP interface. The default is `url`. */
  readonly httpUrl?: Endpoint | undefined;
  /** Returns a token, before each connection and when a token was refused or is about to expire. */
  readonly token: () => string | Promise<string>;
  /** The name of the outbox in the storage, by default `default`. Use the user id if people share a device. */
  readonly account?: string | undefined;
  /** The storage of the outbox, made by `@tidings/client/storage`. By default the outbox is only in memory. */
  readonly storage?: OutboxStorage | undefined;
  /** The transport. The default `auto` uses a WebSocket, or polls where a WebSocket is impossible. */
  readonly transport?: "auto" | "websocket" | "poll" | undefined;
  /** Returns the module `@tidings/client/polls`. By default the kit loads it with `import()` when polls are needed. */
  readonly polls?: (() => Polls | Promise<Polls>) | undefined;
  /** The class that makes WebSockets. The default is `globalThis.WebSocket`. `auto` uses polls where that class is missing. */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** The function that sends HTTP requests. The default is `globalThis.fetch`. */
  readonly fetch?: typeof fetch | undefined;
  /** The clock and the timers. The default is those of the platform. */
  readonly timers?: Timers | undefined;
  /** Returns a random number for the length of pauses: at least 0 and below 1. The default is `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Reports whether the app is visible and has a network. The default is `browserLifecycle()`. */
  readonly lifecycle?: Lifecycle | undefined;
  /** The most messages that the outbox may hold. The default is 500. */
  readonly outboxLimit?: number | undefined;
  /** The number of newest messages that an open room keeps. The default is 100. */
  readonly windowSize?: number | undefined;
  /** Receives the errors of work that no caller awaits. */
  readonly onError?: ((error: TidingsError) => void) | undefined;
}

/** The module `@tidings/client/polls`. */
export interface Polls {
  /** @internal */
  readonly PollLink: typeof PollLink;
  /** @internal */
  readonly Transport: typeof Transport;
}

/** A storage for the outbox, made by a function of `@tidings/client/storage`. */
export interface OutboxStorage {
  /**
   * Opens the storage for one tab. The outbox calls it.
   * @internal
   */
  readonly open: (env: Env, tab: string, adopt: (entry: Entry) => boolean) => EntryStore;
}

/** The state of a connection. `reconnecting` includes the pauses between attempts. */
export type ConnectionState = "connecting" | "connected" | "reconnecting" | "disconnected";

/** The state of the connection to the server. */
export interface Connection {
  readonly state: ConnectionState;
  readonly transport?: "websocket" | "poll";
  /** Failed attempts since the last connection; 0 while connected. */
  readonly attempt: number;
  /** When the next attempt starts, in milliseconds since 1970. It is set only during the pause before this attempt. */
  readonly retryAt?: number;
  /** Why the client is not connected. */
  readonly error?: TidingsError;
  /** Whether the server's node is about to stop. The kit then moves to another node by itself. */
  readonly draining: boolean;
  /** Whether the device reports that it has no network. */
  readonly offline: boolean;
}

/** The current user, with the limits of the server. */
export interface Me {
  readonly id: string;
  readonly name?: string;
  readonly limits: Limits;
}

/** The reactions with one emoji. `users` names the first 20 users. */
export interface Reaction {
  readonly emoji: string;
  readonly count: number;
  readonly mine: boolean;
  readonly users: readonly string[];
}

/** One message of a room. The object never changes; after a change another object replaces it. */
export interface Message {
  /** Identifies the message, and stays the same when the server accepts the message and gives it a seq. */
  readonly key: string;
  /** The position in the log of the room; undefined until the server accepts the message. */
  readonly seq: number | undefined;
  readonly id?: string;
  readonly clientId: string;
  readonly room: string;
  readonly sender: { readonly id: string; readonly name?: string; readonly picture?: string };
  readonly mine: boolean;
  readonly kind: string;
  readonly content: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly editedAt?: number;
  readonly deleted: boolean;
  readonly replyTo?: number;
  readonly attachments: readonly Attachment[];
  readonly metadata?: object;
  readonly visibleTo?: VisibleTo;
  readonly reactions: readonly Reaction[];
  /** The seq of the event that changed the message last. */
  readonly lastSeq: number;
  readonly status: "sending" | "sent" | "failed";
  /** Whether the server has stored the message durably. Always true for the messages of others. */
  readonly stored: boolean;
  readonly error?: TidingsError;
}

/** The loaded messages of a room, ascending by seq. Messages that are being sent come last. */
export interface MessageList {
  readonly items: readonly Message[];
  readonly hasOlder: boolean;
  readonly loadingOlder: boolean;
  readonly error?: TidingsError;
}

/** The optional fields of a new message. */
export interface SendOptions {
  readonly kind?: string | undefined;
  readonly replyTo?: number | undefined;
  readonly visibleTo?: VisibleTo | undefined;
  readonly attachments?: readonly Attachment[] | undefined;
  readonly metadata?: object | undefined;
}

/** One entry of the list of rooms. */
export interface RoomSummary {
  readonly id: string;
  readonly kind: RoomKind;
  readonly name: string | null;
  readonly role: string;
  readonly members: number;
  readonly archived: boolean;
  readonly metadata: object | null;
  readonly unread: number;
  /** Whether the true number may be higher than `unread`. */
  readonly unreadCapped: boolean;
  readonly readSeq: number;
  readonly lastMessage?: Message;
  /** When the room was last active, in milliseconds since 1970. */
  readonly updatedAt: number;
  /** The other user of a direct room; undefined until the kit knows that user. */
  readonly peer?: { readonly user: string; readonly name?: string };
}

/** The state of a room. `live` means that no message is missing; in `offline` the messages may be out of date. */
export interface RoomState {
  readonly phase: "closed" | "loading" | "catching-up" | "live" | "offline" | "removed" | "failed";
  readonly error?: TidingsError;
  readonly summary?: RoomSummary;
}

/** The rooms of the user, newest activity first. */
export interface RoomListState {
  readonly items: readonly RoomSummary[];
  readonly loaded: boolean;
  readonly hasMore: boolean;
  readonly error?: TidingsError;
}

/** A store of the rooms of the user. */
export interface RoomList extends Store<RoomListState> {
  /** Reads the list again from its start. */
  readonly reload: () => Promise<void>;
  /** Reads the next page of the list, if there is one. */
  readonly more: () => Promise<void>;
}

/** The marks of one member: the last message that the member has read, and the last that has reached the member. */
export interface Receipt {
  readonly readSeq: number;
  readonly deliveredSeq: number;
}

/** One room. The client returns the same object for the same id. */
export interface Room {
  readonly id: string;
  readonly state: Store<RoomState>;
  readonly messages: Store<MessageList>;
  /**
   * Loads the newest messages, joins the room, and keeps it current. Returns a function that releases the room. The
   * room closes after all callers of `open` have released it.
   */
  open(): () => void;
  /**
   * Reads up to `count` messages before the first loaded one. Resolves to whether the room has still older messages.
   * The room keeps all of them until `trim()`. Rejects with TidingsError.
   */
  loadOlder(count?: number): Promise<boolean>;
  /** Drops the older messages, so that the room again keeps only its newest ones. */
  trim(): void;
  /** Shows the message at once and sends it until it is stored. Throws TidingsError `outbox_full`. */
  send(content: string, options?: SendOptions): Message;
  /** Marks all messages up to `seq` as read, and repeats the command until the server has the mark. */
  markRead(seq: number): void;
}

/** A user who is typing. */
export interface TypingUser {
  readonly id: string;
  readonly name?: string;
}

/** The other users who are typing, and the typing state of the current user. */
export interface Typing extends Store<readonly TypingUser[]> {
  /** Reports that the user is typing; to be called at each key press. */
  readonly typed: () => void;
  /** Reports that the user stopped typing. Sending a message has the same effect. */
  readonly stop: () => void;
}

/** The members of a room. The value is undefined until they are loaded, and is then kept current. */
export interface Members extends Store<readonly Member[] | undefined> {
  /** Reads all members. Rejects with TidingsError. */
  readonly load: () => Promise<readonly Member[]>;
}

/** A message in the outbox. */
export interface OutboxEntry {
  readonly clientId: string;
  readonly room: string;
  readonly content: string;
  readonly options: SendOptions;
  /** When the user wrote the message, in milliseconds since 1970. */
  readonly at: number;
  readonly status: "sending" | "sent" | "failed";
  /** The position of the message in the room's log, once the server has accepted it. */
  readonly seq?: number;
  readonly id?: string;
  readonly error?: TidingsError;
}

/** Messages that wait to be sent or to be stored, and messages that failed. */
export interface Outbox extends Store<readonly OutboxEntry[]> {
  /** Sends a failed message again. */
  readonly retry: (clientId: string) => void;
  /** Sends all failed messages again. */
  readonly retryAll: () => void;
  /** Removes a message that waits or has failed. A message that is being sent may still arrive. */
  readonly discard: (clientId: string) => void;
}

/** The presence of a user; `lastSeen` is in milliseconds since 1970, null unless the user is offline. */
export interface PresenceState {
  readonly status: PresenceStatus;
  readonly lastSeen: number | null;
}

/** The presence of users. */
export interface Presence {
  /** The presence of a user; undefined until the kit has received it. */
  of(user: string): Store<PresenceState | undefined>;
  /** Requests the presence of these users, now and after each reconnect. The returned function ends these requests. */
  watch(users: readonly string[]): () => void;
  /** Sets the presence of the current user on this connection; the kit repeats it after a reconnect. */
  set(status: "online" | "away"): void;
}

/** The events of `TidingsClient.on`. */
export interface ClientEvents {
  error: TidingsError;
  /** Each event of a room's log, once and in the order of the log. */
  event: LogEvent;
  /** Each frame as it was received. */
  frame: ServerFrame;
}

/** The fields of a new room. */
export interface NewRoom {
  readonly kind: RoomKind;
  readonly name?: string;
  readonly members?: readonly { readonly user: string; readonly role?: string }[];
  readonly metadata?: object;
}
