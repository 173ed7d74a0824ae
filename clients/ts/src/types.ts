/** The public types of the kit. */
import type { Env } from "./env.js";
import type { TidingsError } from "./errors.js";
import type { HttpOptions } from "./net/http.js";
import type { PollLink } from "./net/poll.js";
import type { Transport } from "./net/transport.js";
import type { Entry } from "./outbox/entry.js";
import type { Endpoint, Lifecycle, Timers, WebSocketConstructor } from "./platform.js";
import type { ClientFrame, LogEvent, ServerFrame, SystemEvent } from "./protocol/frames.js";
import type { NotifyLevel, PresenceStatus, RoomKind, VisibleTo } from "./protocol/objects.js";
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
  /** The http or https origin of the server. The kit derives the URL of the WebSocket from it. */
  readonly url: Endpoint;
  /** The origin of the HTTP interface. The default is `url`. */
  readonly httpUrl?: Endpoint | undefined;
  /**
   * Returns a token. The kit calls it before the first connection, when the token is about to expire, and when the
   * server has refused the token. Throw an `UnauthorizedError` when the user is signed out: the kit then stops. After
   * any other error it asks again.
   */
  readonly token: (request: TokenRequest) => string | Promise<string>;
  /**
   * The name under which the storage keeps the outbox. The default is `default`. Use the user id if people share a
   * device.
   */
  readonly account?: string | undefined;
  /** The storage of the outbox, made by `@tidings/client/storage`. By default the outbox is only in memory. */
  readonly storage?: OutboxStorage | undefined;
  /** The transport. The default `auto` uses a WebSocket, or polls where a WebSocket is impossible. */
  readonly transport?: "auto" | "websocket" | "poll" | undefined;
  /** Returns the module `@tidings/client/polls`. By default the kit loads it with `import()` when polls are needed. */
  readonly polls?: (() => Polls | Promise<Polls>) | undefined;
  /** The class that makes WebSockets, by default `globalThis.WebSocket`. Without such a class `auto` uses polls. */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** The function that sends HTTP requests. The default is `globalThis.fetch`. */
  readonly fetch?: typeof fetch | undefined;
  /** The clock and the timers. By default the kit uses those of the platform. */
  readonly timers?: Timers | undefined;
  /** Returns a random number for the length of pauses: at least 0 and below 1. The default is `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Reports whether the app is visible and has a network. The default is `browserLifecycle()`. */
  readonly lifecycle?: Lifecycle | undefined;
  /**
   * The kit reports the user as away while the app is hidden, and when nobody has used it for this time, in
   * milliseconds. The default is 300,000, which is five minutes. With 0 only `presence(client).set` changes the status.
   */
  readonly awayAfterMs?: number | undefined;
  /** The most messages that the outbox may hold. The default is 500. */
  readonly outboxLimit?: number | undefined;
  /** The number of newest messages that an open room keeps. The default is 100. */
  readonly windowSize?: number | undefined;
  /** Receives the errors of work that no caller awaits, and each failure of `token`. */
  readonly onError?: ((error: TidingsError) => void) | undefined;
  /** Shows each frame and each step of the connection. `true` prints them to the console; a function receives them. */
  readonly debug?: boolean | ((entry: DebugEntry) => void) | undefined;
}

/** Why the kit asks for a token. */
export interface TokenRequest {
  /** The error with which the server refused the last token. `reason` names the cause, such as `expired`. */
  readonly refused?: TidingsError;
}

/** What the option `debug` shows. In `received`, `frame` is undefined when the server sent something unreadable. */
export type DebugEntry =
  | { readonly type: "sent"; readonly frame: ClientFrame }
  | { readonly type: "received"; readonly frame: ServerFrame | undefined }
  | {
      /** A step of the connection from one phase to another. */
      readonly type: "step";
      readonly from: string;
      readonly to: string;
      readonly error?: TidingsError;
    };

/** The module `@tidings/client/polls`. */
export interface Polls {
  /** @internal */
  readonly PollLink: typeof PollLink;
  /** @internal */
  readonly Transport: typeof Transport;
}

/** A storage for the outbox, made by a function of `@tidings/client/storage`. */
export interface OutboxStorage {
  /** Only the functions of `@tidings/client/storage` set this field, so TypeScript refuses other objects. */
  readonly isOutboxStorage: true;
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
  /** The number of failed attempts since the last connection; 0 while connected. */
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

/** The limits that the server sets for this connection. */
export interface Limits {
  readonly maxMessageChars: number;
  readonly maxFrameBytes: number;
  readonly messagesPerSecond: number;
}

/** The current user, with the limits of the server. */
export interface Me {
  readonly id: string;
  readonly name?: string;
  readonly limits: Limits;
}

/**
 * A file of a message: stored elsewhere (`url`), or by the server (`file`). In a draft or in the outbox it may instead be
 * an `upload` that is not complete; the message waits for it. Exactly one of the three is set. `size` is in bytes.
 */
export interface Attachment {
  readonly name: string;
  readonly url?: string;
  /** The id of a file of the server. `files` of `@tidings/client/files` gives its address. */
  readonly file?: string;
  /** The id of an upload of this device, made by `files` of `@tidings/client/files`. */
  readonly upload?: string;
  readonly mediaType: string;
  readonly size: number;
  /** The width and the height of a picture or a video, in pixels. */
  readonly width?: number;
  readonly height?: number;
  /** A short text from which a blurred picture can be made: <https://blurha.sh>. */
  readonly blurhash?: string;
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
  /** The id of the user who deleted the message, if that is known. */
  readonly deletedBy?: string;
  readonly replyTo?: number;
  readonly attachments: readonly Attachment[];
  readonly metadata?: object;
  readonly visibleTo?: VisibleTo;
  /** The ids of the users whom the message mentions; absent or empty if it mentions nobody. */
  readonly mentions?: readonly string[];
  readonly reactions: readonly Reaction[];
  /** The seq of the event that changed the message last. */
  readonly lastSeq: number;
  readonly status: "sending" | "sent" | "failed";
  /**
   * The earliest time at which the server takes this message, which it has refused for now: in a room with slow mode, or
   * because the user sends too much. Milliseconds since 1970 by the clock of the device. The kit sends it by itself.
   */
  readonly retryAt?: number;
  /** Whether the server has stored the message durably. Always true for the messages of others. */
  readonly stored: boolean;
  readonly error?: TidingsError;
  /** The user's newest change of the message that the server has not stored yet. */
  readonly pendingChange?: PendingChange;
}

/**
 * An edit, a deletion or a reaction that is not stored yet. While it is `sending`, the message already shows the change.
 * A `failed` change was refused after its page was closed, and the message does not show it: call `outbox.retry` or
 * `outbox.discard` with `clientId`.
 */
export interface PendingChange {
  readonly clientId: string;
  readonly type: "message:edit" | "message:delete" | "reaction:add" | "reaction:remove";
  readonly status: "sending" | "failed";
  readonly error?: TidingsError;
}

/** The loaded messages of a room, ascending by seq and without a gap. Messages that are being sent come last. */
export interface MessageList {
  readonly items: readonly Message[];
  readonly hasOlder: boolean;
  readonly loadingOlder: boolean;
  /**
   * Whether the log has messages after the last loaded one. While this is true, new messages do not appear in `items`,
   * and a gap precedes the messages that are being sent.
   */
  readonly hasNewer: boolean;
  readonly loadingNewer: boolean;
  /**
   * The changes of members and of the room among `items`, ascending by seq: at most the last 1,000, and the last 200 of
   * each page of messages.
   */
  readonly systemEvents: readonly SystemEvent[];
  readonly error?: TidingsError;
}

/**
 * A position in a room: a seq, the first unread message, or the newest message. `unread` means `end` if nothing is
 * unread, or if the user has never read the room.
 */
export type RoomPosition = number | "unread" | "end";

/** The optional fields of a new message. */
export interface SendOptions {
  readonly kind?: string | undefined;
  readonly replyTo?: number | undefined;
  /** Without this field, a reply to a loaded private message goes to the users who may see that message. */
  readonly visibleTo?: VisibleTo | "everyone" | undefined;
  /** The ids of up to 20 users whom the message mentions. They must be members who may see the message. */
  readonly mentions?: readonly string[] | undefined;
  readonly attachments?: readonly Attachment[] | undefined;
  readonly metadata?: object | undefined;
}

/** The message that a user is writing in a room. */
export interface DraftState {
  readonly content: string;
  readonly replyTo?: number;
  /** Who will see the message; undefined for everyone. */
  readonly visibleTo?: VisibleTo;
  /** Whether the user has chosen `visibleTo`. A chosen audience also applies to the next message. */
  readonly audienceChosen: boolean;
  readonly attachments: readonly Attachment[];
  /** The ids of the users whom the message mentions; absent or empty if it mentions nobody. */
  readonly mentions?: readonly string[];
}

/** The draft of a room. Its functions need no `this`. */
export interface Draft extends Store<DraftState> {
  /**
   * Changes the given fields; the value `undefined` removes a field. A given `visibleTo` counts as chosen by the user.
   */
  readonly set: (change: DraftChange) => void;
  /** Makes the draft a reply. A reply to a private message takes the audience of that message. */
  readonly reply: (message: Message) => void;
  /**
   * Sends the draft and clears it, in all tabs. If the outbox is full, throws TidingsError `outbox_full` and keeps the
   * draft.
   */
  readonly send: (options?: SendOptions) => Message;
  /** Empties the draft, in all tabs. */
  readonly clear: () => void;
}

/** The fields of a draft that an app may change. */
export interface DraftChange {
  readonly content?: string;
  readonly replyTo?: number | undefined;
  readonly visibleTo?: VisibleTo | undefined;
  readonly attachments?: readonly Attachment[];
  readonly mentions?: readonly string[] | undefined;
}

/** One entry of the list of rooms. */
export interface RoomSummary {
  readonly id: string;
  readonly kind: RoomKind;
  readonly name: string | null;
  readonly role: string;
  readonly members: number;
  readonly archived: boolean;
  /**
   * The least time between two messages of a member, in seconds; 0 without slow mode. Admins and owners are not limited.
   */
  readonly slowModeS: number;
  readonly metadata: object | null;
  readonly unread: number;
  /** Whether the true number may be higher than `unread`. */
  readonly unreadCapped: boolean;
  /** The number of unread messages that mention the user. */
  readonly unreadMentions: number;
  /** For which messages the user wants notifications; `setNotify` of `@tidings/client/http` changes it. */
  readonly notify: NotifyLevel;
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
  /** The same as `open`, but loads the messages around a position, in one request. */
  openAround(at: RoomPosition): () => void;
  /**
   * Replaces the loaded messages by those around a position, unless the position is loaded already. The room must be
   * open. Resolves to true if the position is loaded at the end. Rejects with TidingsError.
   */
  jumpTo(at: RoomPosition): Promise<boolean>;
  /** Replaces the loaded messages by the newest ones, unless those are loaded already. Rejects with TidingsError. */
  jumpToLatest(): Promise<boolean>;
  /**
   * Reads up to `count` messages before the first loaded one. Resolves to true if the room has still older messages.
   * The room keeps all loaded messages until `trim()`. Rejects with TidingsError.
   */
  loadOlder(count?: number): Promise<boolean>;
  /** Reads up to `count` messages after the last loaded one, in the same way as `loadOlder`. */
  loadNewer(count?: number): Promise<boolean>;
  /** Drops all loaded messages except the last `windowSize`. */
  trim(): void;
  /**
   * Shows the message at once, and repeats the command until the server has stored the message. Loads the newest
   * messages if they are not loaded. Throws TidingsError `outbox_full`.
   */
  send(content: string, options?: SendOptions): Message;
  /**
   * Marks all messages up to `seq` as read. The kit repeats the command until the server has the mark. In an open room,
   * returns false and does nothing if an unread message up to `seq` is not loaded, or while the kit cannot know this.
   * With `acrossGaps` the mark always moves, for "mark all as read".
   */
  markRead(seq: number, options?: { readonly acrossGaps?: boolean }): boolean;
}

/** A user who is typing. */
export interface TypingUser {
  readonly id: string;
  readonly name?: string;
}

/** The other users who are typing, and the typing state of the current user. */
export interface Typing extends Store<readonly TypingUser[]> {
  /** Reports that the user is typing. Call it at each key press. */
  readonly typed: () => void;
  /** Reports that the user stopped typing. Sending a message has the same effect. */
  readonly stop: () => void;
}

/** A member of a room. */
export interface Member {
  readonly user: string;
  readonly name?: string;
  readonly picture?: string;
  readonly role: string;
  /** When the user joined, in milliseconds since 1970. */
  readonly joinedAt?: number;
}

/**
 * The loaded members of a room, ordered by their ids. The value is undefined until the first page is loaded. Then
 * events keep it current. When a room with more than one page closes, or has missed events, its later pages are
 * dropped.
 */
export interface Members extends Store<readonly Member[] | undefined> {
  /** Whether the room has members after the loaded ones. */
  readonly hasMore: boolean;
  /** Reads the first page, of up to 200 members, in place of the loaded ones. Rejects with TidingsError. */
  readonly load: () => Promise<readonly Member[]>;
  /** Reads the next page, if there is one. Resolves to all loaded members. Rejects with TidingsError. */
  readonly loadMore: () => Promise<readonly Member[]>;
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
  /** The earliest time at which the server takes a message that it has refused for now, in milliseconds since 1970. */
  readonly retryAt?: number;
  /** The position of the message in the room's log, once the server has accepted it. */
  readonly seq?: number;
  readonly id?: string;
  readonly error?: TidingsError;
}

/**
 * Messages that wait to be sent or to be stored, and messages that failed. The outbox also sends edits, deletions and
 * reactions. They are not in the list: `Message.pendingChange` shows them.
 */
export interface Outbox extends Store<readonly OutboxEntry[]> {
  /** Sends a failed message or change again. */
  readonly retry: (clientId: string) => void;
  /** Sends all failed messages and changes again. */
  readonly retryAll: () => void;
  /** Removes a message or a change that waits or has failed. If it is being sent, it may still arrive. */
  readonly discard: (clientId: string) => void;
}

/** The presence of a user. `lastSeen`, in milliseconds since 1970, is null while the user is online or away. */
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
  /**
   * Sets the status that the user has chosen, for this connection; the kit repeats it after a reconnect. `away` stays
   * until the next call. With `online` the kit still reports `away` while the app is hidden or not used: see the option
   * `awayAfterMs`.
   */
  set(status: "online" | "away"): void;
}

/** The events of `TidingsClient.on`. */
export interface ClientEvents {
  error: TidingsError;
  /** Each event of a room's log, once and in the order of the log. */
  event: LogEvent;
  /** Each frame as it was received. The kit checks only the fields that it uses. */
  frame: ServerFrame;
}

/**
 * The public members of `TidingsClient`. Providers take this type, so that a test can pass an object of its own. Such an
 * object has no presence: `presence(client)` needs a real client.
 */
export interface TidingsClientLike {
  readonly connection: Store<Connection>;
  readonly me: Store<Me | undefined>;
  readonly rooms: RoomList;
  readonly outbox: Outbox;
  readonly connect: () => Promise<void>;
  readonly disconnect: () => void;
  readonly retryNow: () => void;
  readonly close: () => void;
  readonly room: (id: string) => Room;
  readonly request: (
    frame: { type: string; [field: string]: unknown },
    options?: HttpOptions,
  ) => Promise<ServerFrame>;
  readonly http: <T>(method: string, path: string, body?: unknown, options?: HttpOptions) => Promise<T>;
  readonly on: <E extends keyof ClientEvents>(
    event: E,
    listener: (value: ClientEvents[E]) => void,
  ) => () => void;
}

/** A room of the server, whether the user is a member or not. Times are in milliseconds since 1970. */
export interface RoomInfo {
  readonly id: string;
  readonly kind: RoomKind;
  readonly name: string | null;
  /** The role of the user; absent when the user is not a member. */
  readonly role?: string;
  /** The number of members. */
  readonly members: number;
  readonly archived: boolean;
  readonly metadata: object | null;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A person who shares a room with the current user. */
export interface Person {
  readonly user: string;
  readonly name?: string;
  readonly picture?: string;
}

/** A page of search results, newest first. `next` is the cursor of the next page, null at the end. */
export interface SearchPage {
  readonly results: readonly {
    readonly message: Message;
    /** The text around the first match, in pieces. `hit` marks the pieces that match. */
    readonly snippet: readonly { readonly text: string; readonly hit: boolean }[];
  }[];
  readonly next: string | null;
}

/** An earlier version of a message: its content, when it was replaced (in ms since 1970), and by whom. */
export interface MessageVersion {
  readonly content: string;
  readonly at: number;
  readonly by: string;
}

/** The fields of a new room. */
export interface NewRoom {
  readonly kind: RoomKind;
  readonly name?: string;
  readonly members?: readonly { readonly user: string; readonly role?: string }[];
  readonly metadata?: object;
}
