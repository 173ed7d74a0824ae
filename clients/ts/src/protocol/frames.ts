/** The frames of the protocol, in both directions. */
import type {
  Cursor,
  LimitsObject,
  MessageObject,
  PresenceObject,
  PresenceStatus,
  SendFields,
  WireCode,
} from "./objects.js";

/** A room in the answer to a join. `online` is present only when the join named this room alone. */
export interface JoinedRoom {
  readonly room: string;
  readonly kind: string;
  readonly name: string | null;
  readonly role: string;
  readonly head: Cursor;
  readonly read_seq: number;
  readonly members: number;
  readonly online?: { readonly user: string; readonly status: PresenceStatus }[];
}

/** Frames that a client sends. The answer repeats the optional `ref`. */
export type ClientFrame = { readonly ref?: string } & (
  | { readonly type: "auth"; readonly token: string }
  | {
      readonly type: "room:join";
      readonly room?: string;
      readonly rooms?: readonly string[] | "mine";
      readonly after?: Cursor | { readonly [room: string]: Cursor };
      readonly presence?: false;
    }
  | { readonly type: "room:leave"; readonly room?: string; readonly rooms?: readonly string[] }
  | ({ readonly type: "message:send"; readonly room: string; readonly client_id: string } & SendFields)
  | ({
      readonly type: "message:edit";
      readonly content: string;
      readonly metadata?: object;
      readonly mentions?: readonly string[];
    } & ChangeFields)
  | ({ readonly type: "message:delete" } & ChangeFields)
  | ({ readonly type: "reaction:add" | "reaction:remove"; readonly emoji: string } & ChangeFields)
  | {
      readonly type: "message:read" | "message:delivered";
      readonly room: string;
      readonly seq: number;
    }
  | { readonly type: "typing:start" | "typing:stop"; readonly room: string }
  | { readonly type: "signal"; readonly room: string; readonly to?: string; readonly data: unknown }
  | { readonly type: "presence:set"; readonly status: "online" | "away" }
  | { readonly type: "presence:get"; readonly users: readonly string[] }
  | { readonly type: "ping" }
);

/** The fields that every change of a message has. */
export interface ChangeFields {
  readonly room: string;
  readonly seq: number;
  readonly id?: string;
  readonly client_id?: string;
  readonly ack?: "stored" | "accepted";
}

/** The first frame on a connection. `expires_at` is absent in the answer to a poll. */
export interface ConnectedFrame {
  readonly type: "connected";
  readonly ref?: string;
  readonly connection?: string;
  readonly user: string;
  readonly name?: string | null;
  readonly server_time: string;
  readonly heartbeat_ms: number;
  readonly expires_at?: string;
  readonly rooms_version: string;
  readonly spread_ms?: number;
  readonly limits: LimitsObject;
  readonly node?: string;
}

/** The answer to a send or a change. */
export interface AckFrame {
  readonly type: "ack";
  readonly ref?: string;
  readonly room: string;
  readonly seq: number;
  readonly epoch: string;
  readonly at: string;
  readonly stage: "accepted" | "stored";
  readonly duplicate: boolean;
  /** The id of the message; absent in the answer to a change. */
  readonly id?: string;
  readonly client_id: string;
}

/** Refuses the command with the same `ref`. Without a `ref` it is about a command without one, a room or a close. */
export interface ErrorFrame {
  readonly type: "error";
  readonly ref?: string;
  readonly room?: string;
  readonly code: WireCode;
  readonly message?: string;
  readonly reason?: string;
  readonly field?: string;
  readonly retry_after_ms?: number;
}

interface EventFields {
  readonly room: string;
  readonly seq: number;
  readonly at: string;
}

/** A new message. */
export interface MessageNew extends Omit<MessageObject, "last_seq" | "reactions"> {
  readonly type: "message:new";
}

interface ChangeEventFields extends EventFields {
  readonly target: number;
  readonly target_id: string;
  readonly by: string;
}

/** An event that changes the message whose seq is `target`. */
export type ChangeEvent = ChangeEventFields &
  (
    | {
        readonly type: "message:edited";
        readonly content: string;
        readonly metadata?: object | null;
        readonly mentions?: readonly string[] | null;
      }
    | { readonly type: "message:deleted" }
    | { readonly type: "reaction:added" | "reaction:removed"; readonly emoji: string }
  );

/** An event that makes the event with the seq `target` void: a late duplicate, or rejected. Clients drop that event. */
export interface MessageVoid extends EventFields {
  readonly type: "message:void";
  readonly target: number;
  readonly client_id: string;
  readonly by: string;
  readonly reason: string;
  readonly of?: number | null;
  readonly message?: number | null;
}

/** An event that adds or removes a member, or changes the role of a member. */
export type MemberEvent = EventFields & { readonly user: string; readonly by: string } & (
    | {
        readonly type: "member:added";
        readonly role: string;
        readonly name?: string | null;
        readonly picture?: string | null;
      }
    | { readonly type: "member:changed"; readonly role: string }
    | { readonly type: "member:removed" }
  );

/** An event that changes the name, the metadata or the archived state of the room. */
export interface RoomUpdated extends EventFields {
  readonly type: "room:updated";
  readonly name?: string | null;
  readonly metadata?: object | null;
  readonly archived?: boolean | null;
  readonly slow_mode_s?: number | null;
  readonly by: string;
}

/** A change of the members or of the room, which a list of messages may show as a line of text. */
export type SystemEvent = MemberEvent | RoomUpdated;

/** Replaces an event that became void, in an answer of `GET /rooms/{room}/events`. It has the seq of that event. */
export interface VoidEvent extends EventFields {
  readonly type: "void";
}

/** An event in the log of a room. */
export type LogEvent = MessageNew | ChangeEvent | MessageVoid | MemberEvent | RoomUpdated | VoidEvent;

/** Frames that a server sends. Log events have a `seq`. The kit ignores unknown types. */
export type ServerFrame =
  | ConnectedFrame
  | AckFrame
  | ErrorFrame
  | LogEvent
  | {
      readonly type: "room:joined";
      readonly ref?: string;
      readonly rooms: JoinedRoom[];
      readonly failed: { readonly room: string; readonly code: WireCode }[];
      readonly more?: boolean;
    }
  | { readonly type: "room:left"; readonly ref?: string; readonly rooms: string[] }
  | { readonly type: "ok"; readonly ref?: string }
  | { readonly type: "pong"; readonly ref?: string; readonly server_time: string }
  | { readonly type: "auth:ok"; readonly ref?: string; readonly expires_at: string }
  | { readonly type: "presence:list"; readonly ref?: string; readonly users: PresenceObject[] }
  | { readonly type: "room:caught_up"; readonly room: string; readonly epoch: string; readonly seq: number }
  | { readonly type: "room:gap"; readonly room: string; readonly after: number; readonly head: Cursor }
  | {
      readonly type: "typing:start" | "typing:stop";
      readonly room: string;
      readonly user: { readonly id: string; readonly name?: string | null };
      readonly expires_ms?: number;
    }
  | { readonly type: "signal"; readonly room: string; readonly from: string; readonly data: unknown }
  | ({ readonly type: "presence" } & PresenceObject)
  | {
      readonly type: "receipt:read" | "receipt:delivered";
      readonly room: string;
      readonly marks: { readonly user: string; readonly seq: number; readonly at: string }[];
    }
  | {
      readonly type: "room:added";
      readonly room: string;
      readonly kind: string;
      readonly name: string | null;
      readonly role: string;
      readonly from: Cursor;
    }
  | { readonly type: "room:removed"; readonly room: string; readonly seq: number }
  | { readonly type: "rooms:changed"; readonly rooms_version: string; readonly spread_ms?: number }
  | {
      readonly type: "room:activity";
      readonly room: string;
      readonly seq: number;
      readonly mention?: boolean;
      readonly from: Cursor;
    }
  | { readonly type: "rooms:activity"; readonly after_ms: number }
  | { readonly type: "draining"; readonly reconnect_after_ms: number };
