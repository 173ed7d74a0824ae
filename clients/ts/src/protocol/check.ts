import { TidingsError } from "../errors.js";
import type { LogEvent, ServerFrame } from "./frames.js";

/** The kinds of fields: string, number, boolean, array, object, cursor, and object with an id. */
const FIELD_KINDS: { readonly [name: string]: (value: unknown) => boolean } = {
  s: (value) => typeof value === "string",
  n: (value) => Number.isFinite(value),
  b: (value) => typeof value === "boolean",
  a: Array.isArray,
  o: (value) => typeof value === "object" && !Array.isArray(value),
  c: (value) => hasShape(value, SHAPES.cursor),
  u: (value) => hasShape(value, "id"),
};

/**
 * The required fields of each frame: a name with its kind, which defaults to string. A field with `?` may be
 * absent or null.
 */
const POSITIONED = "room seq:n at ";
const CHANGE = `${POSITIONED}target:n target_id by `;
const MEMBER = `${POSITIONED}user by `;
const MESSAGE = `${POSITIONED}id client_id sender:u kind content reply_to?:n attachments?:a `;
const PRESENCE = "user status last_seen?";
const TYPING = "room user:u expires_ms?:n";
const MARKS = "room marks:a";
const FRAME_SHAPES: { readonly [type: string]: string } = {
  // Without a prototype, so that only the types below are found.
  __proto__: null as never,
  connected: "user name? server_time heartbeat_ms:n expires_at? rooms_version limits:o",
  "room:joined": "rooms:a failed:a",
  "room:left": "rooms:a",
  ack: `${POSITIONED}epoch stage duplicate:b id? client_id`,
  pong: "server_time",
  "auth:ok": "expires_at",
  "presence:list": "users:a",
  error: "code message? reason? retry_after_ms?:n",
  "message:new": MESSAGE,
  "message:edited": `${CHANGE}content metadata?:o`,
  "message:deleted": CHANGE,
  "reaction:added": `${CHANGE}emoji`,
  "reaction:removed": `${CHANGE}emoji`,
  "member:added": `${MEMBER}role`,
  "member:changed": `${MEMBER}role`,
  "member:removed": MEMBER,
  "room:updated": `${POSITIONED}name? archived?:b by`,
  "message:void": `${POSITIONED}target:n client_id by reason of?:n message?:n`,
  void: POSITIONED,
  "room:caught_up": "room epoch seq:n",
  "room:gap": "room after:n head:c",
  "typing:start": TYPING,
  "typing:stop": TYPING,
  signal: "room from",
  presence: PRESENCE,
  "receipt:read": MARKS,
  "receipt:delivered": MARKS,
  "room:added": "room kind name? role from:c",
  "room:removed": "room seq:n",
  "rooms:changed": "rooms_version",
  draining: "reconnect_after_ms:n",
};

/** The required fields of HTTP answers and of array elements. */
export const SHAPES = {
  message: `${MESSAGE}last_seq:n reactions?:a`,
  room: "room kind name? members:n head:c updated_at read_seq?:n",
  mark: "user seq:n",
  member: "user role",
  reaction: "emoji count:n users:a",
  joined: "room read_seq?:n head?:c online?:a",
  failed: "room code",
  cursor: "epoch seq:n",
  page: "messages:a head:c",
} as const;

/** Whether a value is an object with the required fields of a shape. */
export function hasShape(value: unknown, shape: string): boolean {
  if (typeof value !== "object" || !value) return false;
  return [...shape.matchAll(/(\w+)(\??):?(\w?)/g)].every(([, name = "", optional, kind = ""]) => {
    const field = (value as { [name: string]: unknown })[name];
    return field == null ? !!optional : FIELD_KINDS[kind || "s"]?.(field);
  });
}

/** Returns the value if it has the shape. Throws TidingsError `protocol` for any other value. */
export function assertShape<T>(value: T, shape: string): T {
  if (!hasShape(value, shape)) throw new TidingsError("protocol");
  return value;
}

/** Returns the elements of a list that have the shape. Returns an empty list when `list` is no list. */
export function filterShape<T>(list: unknown, shape: string): T[] {
  return Array.isArray(list) ? (list.filter((value) => hasShape(value, shape)) as T[]) : [];
}

/** Returns a valid frame; undefined when a required field is missing. */
export function asFrame(value: unknown): ServerFrame | undefined {
  if (!hasShape(value, "type")) return undefined;
  const frame = value as ServerFrame;
  // Unknown types are frames too: listeners receive them, and the kit ignores them.
  return hasShape(frame, FRAME_SHAPES[frame.type] ?? "") ? frame : undefined;
}

/** Whether a frame is an event in the log of a room. */
export const isEvent = (frame: ServerFrame): frame is LogEvent =>
  !!FRAME_SHAPES[frame.type]?.startsWith(POSITIONED) && frame.type !== "ack";

/** Parses the text of a frame. Returns undefined when it is no valid frame. */
export function parseFrame(text: unknown): ServerFrame | undefined {
  try {
    return asFrame(JSON.parse(String(text)));
  } catch {
    return undefined;
  }
}
