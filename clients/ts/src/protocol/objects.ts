/** The objects inside frames, requests and HTTP answers, with the field names of the protocol. */

/** A position in the log of a room. `epoch` is an opaque id of one lifetime of the server's data in Redis. */
export interface Cursor {
  readonly epoch: string;
  readonly seq: number;
}

/** The sender of a message. */
export interface Sender {
  readonly id: string;
  readonly name?: string | null;
  readonly picture?: string | null;
}

/** A file that is stored elsewhere (`url`), or by the server (`file`): exactly one of both. `size` is in bytes. */
export interface AttachmentObject {
  readonly name: string;
  readonly url?: string;
  readonly file?: string;
  readonly media_type: string;
  readonly size: number;
  readonly width?: number;
  readonly height?: number;
  readonly blurhash?: string;
}

/** The users and roles that may see a message, besides its sender. */
export interface VisibleTo {
  readonly users: string[];
  readonly roles: string[];
}

/** `direct`: between two users; `private`: by invitation; `public`: anybody may join. */
export type RoomKind = "direct" | "private" | "public";

/**
 * For which messages of a room the user wants notifications: all, those that mention the user, or none. The server only
 * stores the level: it delivers all messages.
 */
export type NotifyLevel = "all" | "mentions" | "none";

/** Whether a user is online, away or offline. */
export type PresenceStatus = "online" | "away" | "offline";

/** The presence of one user. `last_seen`, an RFC 3339 time, is null while the user is online or away. */
export interface PresenceObject {
  readonly user: string;
  readonly status: PresenceStatus;
  readonly last_seen: string | null;
}

/** The limits that the server sets for this connection. */
export interface LimitsObject {
  readonly max_message_chars: number;
  readonly max_frame_bytes: number;
  readonly messages_per_second: number;
}

/** The reactions with one emoji; `users` names the first 20 users. */
export interface ReactionObject {
  readonly emoji: string;
  readonly count: number;
  readonly mine: boolean;
  readonly users: string[];
}

/** A message in an HTTP answer. */
export interface MessageObject {
  readonly id: string;
  readonly seq: number;
  readonly room: string;
  readonly client_id: string;
  readonly sender: Sender;
  readonly kind: string;
  readonly content: string;
  readonly reply_to?: number | null;
  readonly attachments?: AttachmentObject[] | null;
  readonly metadata?: object | null;
  readonly visible_to?: VisibleTo | null;
  /** The ids of the users whom the message mentions. */
  readonly mentions?: readonly string[] | null;
  readonly at: string;
  readonly edited_at?: string | null;
  readonly deleted?: boolean | null;
  readonly deleted_by?: string | null;
  readonly last_seq: number;
  readonly reactions?: ReactionObject[] | null;
}

/** The fields of a `message:send` frame besides the room and the client id. */
export interface SendFields {
  readonly content?: string;
  readonly kind?: string;
  readonly reply_to?: number;
  readonly visible_to?: VisibleTo;
  readonly mentions?: readonly string[];
  readonly attachments?: readonly AttachmentObject[];
  readonly metadata?: object;
  readonly attempt?: number;
  readonly ack?: "stored" | "accepted";
}

/** A room in an HTTP answer. `members` is a number; `role` is null when the user is not a member. */
export interface RoomObject {
  readonly room: string;
  readonly kind: RoomKind;
  readonly name: string | null;
  readonly created_by: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly archived: boolean;
  readonly slow_mode_s?: number;
  readonly metadata: object | null;
  readonly members: number;
  readonly role?: string | null;
  readonly head: Cursor;
}

/** A room of the current user in an HTTP answer. */
export interface MyRoomObject extends RoomObject {
  readonly last_message: MessageObject | null;
  readonly unread: number;
  readonly unread_capped: boolean;
  /** The number of unread messages that mention the user. */
  readonly unread_mentions?: number;
  readonly read_seq: number;
  readonly notify?: NotifyLevel;
}

/** A person who shares a room with the current user. */
export interface PersonObject {
  readonly user: string;
  readonly name?: string | null;
  readonly picture?: string | null;
}

/** A member of a room in an HTTP answer. */
export interface MemberObject {
  readonly user: string;
  readonly name?: string | null;
  readonly picture?: string | null;
  readonly role: string;
  readonly joined_at?: string;
}

/** The read and delivered marks of one member. */
export interface ReceiptObject {
  readonly user: string;
  readonly read_seq: number;
  readonly read_at?: string | null;
  readonly delivered_seq: number;
  readonly delivered_at?: string | null;
}

/** A page of search results in an HTTP answer. */
export interface SearchPageObject {
  readonly results: readonly {
    readonly message: MessageObject;
    readonly snippet: readonly { readonly text: string; readonly hit: boolean }[];
  }[];
  readonly next: string | null;
}

/** The error codes that the server sends. */
export type WireCode =
  | "bad_request"
  | "unauthorized"
  | "forbidden"
  | "not_found"
  | "conflict"
  | "too_large"
  | "rate_limited"
  | "internal"
  | "overloaded"
  | "unavailable";
