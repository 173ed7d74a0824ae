/** The public shapes of the kit. */
import type { TidingsError } from "./errors.js";
import type { PollLink } from "./net/poll.js";
import type { Transport } from "./net/transport.js";
import type { OpenKeeper } from "./outbox/keeper.js";
import type { LogEvent, ServerFrame } from "./protocol/frames.js";
import type { Attachment, Limits, Member, PresenceStatus, RoomKind, VisibleTo } from "./protocol/objects.js";
import type { Endpoint, Lifecycle, Timers, WebSocketConstructor } from "./surroundings.js";

export type * from "./surroundings.js";

/** A value that can be watched: made for React's useSyncExternalStore. Its functions need no `this`. */
export interface Store<T> {
  /** The same object until it changes. */
  readonly get: () => T;
  /** Calls the listener after each change; the answer stops that. */
  readonly subscribe: (listener: () => void) => () => void;
}

/** What a client is made of. */
export interface ClientOptions {
  /** Origin, http or https; that of the WebSocket is made from it. */
  readonly url: Endpoint;
  /** Origin of the HTTP interface where it is another one than `url`. */
  readonly httpUrl?: Endpoint | undefined;
  /** Asked before connecting, and when the old token is refused or about to expire. */
  readonly token: () => string | Promise<string>;
  /** Whose outbox this is in the storage (`default`): the user id, where several people share a device. */
  readonly account?: string | undefined;
  /** Where the outbox is kept: of `@tidings/client/storage`. Unless given, in memory. */
  readonly storage?: OutboxStorage | undefined;
  /** `auto` unless given: a WebSocket, and polls where there can be none. */
  readonly transport?: "auto" | "websocket" | "poll" | undefined;
  /** What polls. Loaded by `import()` when it is needed, unless `@tidings/client/polls` is given. */
  readonly polls?: (() => Polls | Promise<Polls>) | undefined;
  /** `globalThis.WebSocket` unless given; where there is none, `auto` polls. */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** `globalThis.fetch` unless given. */
  readonly fetch?: typeof fetch | undefined;
  /** Those of the platform unless given. */
  readonly timers?: Timers | undefined;
  /** What pauses are drawn with, from 0 up to, without, 1; `Math.random` unless given. */
  readonly random?: (() => number) | undefined;
  /** `browserLifecycle()` where there is a document, else `alwaysActive`. */
  readonly lifecycle?: Lifecycle | undefined;
  /** Messages that may wait at one time (500). */
  readonly outboxLimit?: number | undefined;
  /** Messages held per opened room (100). */
  readonly windowSize?: number | undefined;
  /** Hears of what nobody awaits. */
  readonly onError?: ((error: TidingsError) => void) | undefined;
}

/** The module `@tidings/client/polls`. */
export interface Polls {
  /** @internal */
  readonly PollLink: typeof PollLink;
  /** @internal */
  readonly Transport: typeof Transport;
}

/** A place for the outbox: made by a function of `@tidings/client/storage`. */
export interface OutboxStorage {
  /** @internal */
  readonly open: OpenKeeper;
}

/** `reconnecting` includes the pauses between attempts. */
export type ConnectionState = "connecting" | "connected" | "reconnecting" | "disconnected";

/** How things stand with the server. */
export interface Connection {
  readonly state: ConnectionState;
  readonly transport?: "websocket" | "poll";
  /** Attempts since it was connected last; 0 while it is. */
  readonly attempt: number;
  /** Milliseconds since 1970 of the next attempt, while waiting for it. */
  readonly retryAt?: number;
  /** Why it is not connected. */
  readonly error?: TidingsError;
  /** The node is about to stop; the kit moves to another one by itself. */
  readonly draining: boolean;
  /** The device says that it has no network. */
  readonly offline: boolean;
}

/** Who one is on this connection. */
export interface Me {
  readonly id: string;
  readonly name?: string;
  readonly limits: Limits;
}

/** The reactions with one emoji, of whom the first 20 users are named. */
export interface Reaction {
  readonly emoji: string;
  readonly count: number;
  readonly mine: boolean;
  readonly users: readonly string[];
}

/** One row of a room. Never changed: another object takes its place. */
export interface Message {
  /** Stable over the life of the row, also when a message that was being sent gets its place. */
  readonly key: string;
  /** The position; not there until it is accepted. */
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
  /** The seq of the event that last changed it. */
  readonly lastSeq: number;
  readonly status: "sending" | "sent" | "failed";
  /** Known to be on disk; of what others wrote it is not asked. */
  readonly stored: boolean;
  readonly error?: TidingsError;
}

/** The rows held of a room, ascending; what is being sent stands behind what has a place. */
export interface MessageList {
  readonly items: readonly Message[];
  readonly hasOlder: boolean;
  readonly loadingOlder: boolean;
  readonly error?: TidingsError;
}

/** What may be given to a send beside its content. */
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
  /** There may be more unread than `unread` says. */
  readonly unreadCapped: boolean;
  readonly readSeq: number;
  readonly lastMessage?: Message;
  /** Milliseconds since 1970 of the last activity. */
  readonly updatedAt: number;
  /** The other one of a direct room, as soon as it is known. */
  readonly peer?: { readonly user: string; readonly name?: string };
}

/** How far a room has come: `offline` means that what is shown may be old. */
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

/** The watched list of one's rooms. */
export interface RoomList extends Store<RoomListState> {
  /** Reads the list again. */
  readonly reload: () => Promise<void>;
  /** Reads the next page. */
  readonly more: () => Promise<void>;
}

/** How far somebody has read a room, and how far its messages have reached them. */
export interface Receipt {
  readonly readSeq: number;
  readonly deliveredSeq: number;
}

/** One room. The same object for the same id, as long as the client lives. */
export interface Room {
  readonly id: string;
  readonly state: Store<RoomState>;
  readonly messages: Store<MessageList>;
  /** Loads the newest messages, joins, and stays live and whole until every opener has released. */
  open(): () => void;
  /** Reads what is before; false when there is none. The window stays wide until trim(). */
  loadOlder(count?: number): Promise<boolean>;
  /** Back to the newest messages. */
  trim(): void;
  /** Shows the message at once and brings it to the server. Throws TidingsError `outbox_full`. */
  send(content: string, options?: SendOptions): Message;
  /** All up to here is read. Never moves back; brought to the server until it has it. */
  markRead(seq: number): void;
}

/** Somebody who is typing. */
export interface TypingUser {
  readonly id: string;
  readonly name?: string;
}

/** Others who are typing, and whether one does. */
export interface Typing extends Store<readonly TypingUser[]> {
  /** To be called at each key press. */
  readonly typed: () => void;
  /** One does not type any more; a send says so by itself. */
  readonly stop: () => void;
}

/** Who is in a room: undefined until it was loaded, then kept true. */
export interface Members extends Store<readonly Member[] | undefined> {
  /** Reads all of them. Rejects with TidingsError. */
  readonly load: () => Promise<readonly Member[]>;
}

/** A message on its way. */
export interface OutboxEntry {
  readonly clientId: string;
  readonly room: string;
  readonly content: string;
  readonly options: SendOptions;
  /** Milliseconds since 1970 when it was written. */
  readonly at: number;
  readonly status: "sending" | "sent" | "failed";
  /** Its position, once it is accepted. */
  readonly seq?: number;
  readonly id?: string;
  readonly error?: TidingsError;
}

/** What waits to be sent, or to be known as stored, and what has failed. */
export interface Outbox extends Store<readonly OutboxEntry[]> {
  /** Tries a failed message again. */
  readonly retry: (clientId: string) => void;
  /** Tries all failed messages again. */
  readonly retryAll: () => void;
  /** Forgets a message that waits or has failed. What is on its way may arrive all the same. */
  readonly discard: (clientId: string) => void;
}

/** Somebody's presence; `lastSeen` is milliseconds since 1970, null while they are not offline. */
export interface PresenceState {
  readonly status: PresenceStatus;
  readonly lastSeen: number | null;
}

/** Who is there. */
export interface Presence {
  /** Not there until something was heard of them. */
  of(user: string): Store<PresenceState | undefined>;
  /** Asks for these now and after each reconnect. */
  watch(users: readonly string[]): () => void;
  /** What this connection says of oneself; kept over reconnects. */
  set(status: "online" | "away"): void;
}

/** What `on` tells of. */
export interface ClientEvents {
  error: TidingsError;
  /** Each log event once, in order per room. */
  event: LogEvent;
  /** Each frame as it came. */
  frame: ServerFrame;
}

/** What a new room is made of. */
export interface NewRoom {
  readonly kind: RoomKind;
  readonly name?: string;
  readonly members?: readonly { readonly user: string; readonly role?: string }[];
  readonly metadata?: object;
}
