/** Shapes of the objects that frames and HTTP answers are made of, named as on the wire. */

/** A place in the log of a room: in one life of the server's memory (`epoch`) the position `seq`. */
export interface Cursor {
  readonly epoch: string;
  readonly seq: number;
}

/** Who sent a message, as told with it. */
export interface Sender {
  readonly id: string;
  readonly name?: string | null;
  readonly picture?: string | null;
}

/** A file that lies somewhere else; the server keeps only what is told of it. `size` is in bytes. */
export interface Attachment {
  readonly name: string;
  readonly url: string;
  readonly media_type: string;
  readonly size: number;
}

/** Who alone may see a message, beside its sender. */
export interface VisibleTo {
  readonly users: string[];
  readonly roles: string[];
}

/** What a room is: `direct` between two, `private` by invitation, `public` for who joins. */
export type RoomKind = "direct" | "private" | "public";

/** Whether somebody is there. */
export type PresenceStatus = "online" | "away" | "offline";

/** The presence of one user; `last_seen` is RFC 3339, or null while they are not offline. */
export interface PresenceObject {
  readonly user: string;
  readonly status: PresenceStatus;
  readonly last_seen: string | null;
}

/** What the server allows on this connection. */
export interface Limits {
  readonly max_message_chars: number;
  readonly max_frame_bytes: number;
  readonly messages_per_second: number;
}

/** The reactions with one emoji; `users` are the first 20 who gave it. */
export interface ReactionObject {
  readonly emoji: string;
  readonly count: number;
  readonly mine: boolean;
  readonly users: string[];
}

/** A message as HTTP tells it. */
export interface MessageObject {
  readonly id: string;
  readonly seq: number;
  readonly room: string;
  readonly client_id: string;
  readonly sender: Sender;
  readonly kind: string;
  readonly content: string;
  readonly reply_to?: number | null;
  readonly attachments?: Attachment[] | null;
  readonly metadata?: object | null;
  readonly visible_to?: VisibleTo | null;
  readonly at: string;
  readonly edited_at?: string | null;
  readonly deleted?: boolean | null;
  readonly last_seq: number;
  readonly reactions?: ReactionObject[] | null;
}

/** A room as HTTP tells it. `members` is a number; `role` is null for who is no member. */
export interface RoomObject {
  readonly room: string;
  readonly kind: RoomKind;
  readonly name: string | null;
  readonly created_by: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly archived: boolean;
  readonly metadata: object | null;
  readonly members: number;
  readonly role?: string | null;
  readonly head: Cursor;
}

/** A room of one's own as HTTP tells it. */
export interface MyRoomObject extends RoomObject {
  readonly last_message: MessageObject | null;
  readonly unread: number;
  readonly unread_capped: boolean;
  readonly read_seq: number;
}

/** A member of a room. */
export interface Member {
  readonly user: string;
  readonly name?: string | null;
  readonly picture?: string | null;
  readonly role: string;
  readonly joined_at?: string;
}

/** How far one member has read, and how far messages have reached them. */
export interface ReceiptObject {
  readonly user: string;
  readonly read_seq: number;
  readonly read_at?: string | null;
  readonly delivered_seq: number;
  readonly delivered_at?: string | null;
}

/** What was found, newest first; `next` is null at the end. */
export interface SearchPage {
  readonly results: readonly {
    readonly message: MessageObject;
    readonly snippet: readonly { readonly text: string; readonly hit: boolean }[];
  }[];
  readonly next: string | null;
}

/** The codes of refusals on the wire. */
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
