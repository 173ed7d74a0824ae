import { TidingsError } from "../errors.js";
import type { LogEvent, ServerFrame } from "./frames.js";

/** The check for each kind of field: string, number, boolean, array, object, cursor, user (object with an id). */
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
 * Parts of shapes. A shape lists the fields of an object as `name` or `name:kind`. The kind is a letter of
 * `FIELD_KINDS`, by default `s`. A field with `?` may be absent or null.
 */
const POSITIONED = "room seq:n at ";
const CHANGE = `${POSITIONED}target:n target_id by `;
const MEMBER = `${POSITIONED}user by `;
const MESSAGE = `${POSITIONED}id client_id sender:u kind content reply_to?:n attachments?:a `;
const PRESENCE = "user status last_seen?";
const TYPING = "room user:u expires_ms?:n";
const MARKS = "room marks:a";
const FRAME_SHAPES: { readonly [type: string]: string } = {
  // Without a prototype a type such as `constructor` is not found.
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

/** The shapes of HTTP answers and of the elements of arrays. */
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

/** Whether a value is an object whose fields match a shape. */
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

/** Returns the value as a frame, or undefined when a required field is missing. */
export function asFrame(value: unknown): ServerFrame | undefined {
  if (!hasShape(value, "type")) return undefined;
  const frame = value as ServerFrame;
  // A frame of an unknown type is valid, because the listeners of the app may use it.
  return hasShape(frame, FRAME_SHAPES[frame.type] ?? "") ? frame : undefined;
}

/** Whether a frame is an event in the log of a room. */
export const isEvent = (frame: ServerFrame): frame is LogEvent =>
  !!FRAME_SHAPES[frame.type]?.startsWith(POSITIONED) && frame.type !== "ack";

/** Parses the text of a frame. Returns undefined when the text is not a valid frame. */
export function parseFrame(text: unknown): ServerFrame | undefined {
  try {
    return asFrame(JSON.parse(String(text)));
  } catch {
    return undefined;
  }
}
