/** The public types of the kit. */
import type { Env } from "./env.js";
import type { TidingsError } from "./errors.js";
import type { PollLink } from "./net/poll.js";
import type { Transport } from "./net/transport.js";
import type { Entry } from "./outbox/entry.js";
import type { Endpoint, Lifecycle, Timers, WebSocketConstructor } from "./platform.js";
import type { LogEvent, ServerFrame } from "./protocol/frames.js";
import type { Attachment, Limits, Member, PresenceStatus, RoomKind, VisibleTo } from "./protocol/objects.js";
import type { TabEntryStore } from "./storage/tab-entry-store.js";

export type * from "./platform.js";

/** A value that can be watched, made for React's useSyncExternalStore. Its functions need no `this`. */
export interface Store<T> {
  /** Returns the value: the same object until it changes. */
  readonly get: () => T;
  /** Calls the listener after each change. Returns a function that removes the listener. */
  readonly subscribe: (listener: () => void) => () => void;
}

/** The options of a client. */
export interface ClientOptions {
  /** The origin of the server, http or https. The kit derives the origin of the WebSocket from it. */
  readonly url: Endpoint;
  /** The origin of the HTTP interface, where it differs from `url`. */
  readonly httpUrl?: Endpoint | undefined;
  /** Called before each connection, and when the server refuses the old token or the token is about to expire. */
  readonly token: () => string | Promise<string>;
  /** The name of this outbox in the storage (`default`). Give the user id if several people share a device. */
  readonly account?: string | undefined;
  /** Where the outbox is kept, made by `@tidings/client/storage`. The default is memory. */
  readonly storage?: OutboxStorage | undefined;
  /** The default is `auto`: a WebSocket, or polls where a WebSocket is impossible. */
  readonly transport?: "auto" | "websocket" | "poll" | undefined;
  /** Returns the module `@tidings/client/polls`. The default loads it with `import()` when it is needed. */
  readonly polls?: (() => Polls | Promise<Polls>) | undefined;
  /** The default is `globalThis.WebSocket`; where there is none, `auto` uses polls. */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** The default is `globalThis.fetch`. */
  readonly fetch?: typeof fetch | undefined;
  /** The default is the timers of the platform. */
  readonly timers?: Timers | undefined;
  /** Returns a random number for the length of pauses: at least 0 and below 1. The default is `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** The default is `browserLifecycle()`. */
  readonly lifecycle?: Lifecycle | undefined;
  /** How many messages may wait at one time (500). */
  readonly outboxLimit?: number | undefined;
  /** How many messages each opened room holds (100). */
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
  /** @internal */
  readonly open: (env: Env, tab: string, adopt: (entry: Entry) => boolean) => TabEntryStore;
}

/** `reconnecting` includes the pauses between attempts. */
export type ConnectionState = "connecting" | "connected" | "reconnecting" | "disconnected";

/** The state of the connection to the server. */
export interface Connection {
  readonly state: ConnectionState;
  readonly transport?: "websocket" | "poll";
  /** Failed attempts since the last connection; 0 while connected. */
  readonly attempt: number;
  /** When the next attempt starts, in milliseconds since 1970; only while the kit waits for it. */
  readonly retryAt?: number;
  /** Why the client is not connected. */
  readonly error?: TidingsError;
  /** The node is about to stop; the kit moves to another node by itself. */
  readonly draining: boolean;
  /** The device reports that it has no network. */
  readonly offline: boolean;
}

/** The user of this connection. */
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

/** One row of a room. A row is never changed; another object replaces it. */
export interface Message {
  /** Stays the same for the life of the row, also when a message that is being sent gets its seq. */
  readonly key: string;
  /** The position in the log; undefined until the server accepts the message. */
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
  /** The server has committed the message. Always true for the messages of others. */
  readonly stored: boolean;
  readonly error?: TidingsError;
}

/** The loaded rows of a room, ascending by seq. Messages that are being sent come last. */
export interface MessageList {
  readonly items: readonly Message[];
  readonly hasOlder: boolean;
  readonly loadingOlder: boolean;
  readonly error?: TidingsError;
}

/** The optional fields of a message that is sent. */
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
  /** The true number may be higher than `unread`. */
  readonly unreadCapped: boolean;
  readonly readSeq: number;
  readonly lastMessage?: Message;
  /** When the room was last active, in milliseconds since 1970. */
  readonly updatedAt: number;
  /** The other user of a direct room, once the kit knows it. */
  readonly peer?: { readonly user: string; readonly name?: string };
}

/** The state of an opened room. In `offline` the shown messages may be out of date. */
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
  /** Reads the list again. */
  readonly reload: () => Promise<void>;
  /** Reads the next page. */
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
   * Loads the newest messages, joins, and keeps the room current until every opener has called the returned
   * function.
   */
  open(): () => void;
  /**
   * Reads messages before the first one. Resolves to whether the room has still older messages. The window stays larger
   * until `trim()`. Rejects with TidingsError.
   */
  loadOlder(count?: number): Promise<boolean>;
  /** Reduces the window to the newest messages. */
  trim(): void;
  /** Shows the message at once and sends it until the server has it. Throws TidingsError `outbox_full`. */
  send(content: string, options?: SendOptions): Message;
  /** Marks all messages up to `seq` as read. The mark never moves back; the kit sends it until the server has it. */
  markRead(seq: number): void;
}

/** A user who is typing. */
export interface TypingUser {
  readonly id: string;
  readonly name?: string;
}

/** The other users who are typing, and the typing state of the current user. */
export interface Typing extends Store<readonly TypingUser[]> {
  /** Call this at each key press. */
  readonly typed: () => void;
  /** Tells the others that the user stopped typing. Sending a message does this too. */
  readonly stop: () => void;
}

/** The members of a room: undefined until they are loaded, then kept current. */
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
  /** The position of the message in the log, once the server has accepted it. */
  readonly seq?: number;
  readonly id?: string;
  readonly error?: TidingsError;
}

/** Messages that wait to be sent or to be stored, and messages that failed. */
export interface Outbox extends Store<readonly OutboxEntry[]> {
  /** Tries a failed message again. */
  readonly retry: (clientId: string) => void;
  /** Tries all failed messages again. */
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
  /** Requests the presence of these users, now and after each reconnect. Returns a function that ends the watch. */
  watch(users: readonly string[]): () => void;
  /** Sets the presence of the current user on this connection; the kit repeats it after a reconnect. */
  set(status: "online" | "away"): void;
}

/** The events of `TidingsClient.on`. */
export interface ClientEvents {
  error: TidingsError;
  /** Each log event once, in order within its room. */
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
