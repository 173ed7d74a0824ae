import { TidingsError } from "../errors.js";
import type { LogEvent, ServerFrame } from "./frames.js";

/** The check for each kind of field: string, number, boolean, array, object, cursor, user (object with an id). */
const FIELD_CHECKS: { readonly [name: string]: (value: unknown) => boolean } = {
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
 * `FIELD_CHECKS`, by default `s`. A field with `?` may be absent or null.
 */
const POSITION_FIELDS = "room seq:n at ";
const CHANGE_FIELDS = `${POSITION_FIELDS}target:n target_id by `;
const MEMBER_FIELDS = `${POSITION_FIELDS}user by `;
const MESSAGE_FIELDS = `${POSITION_FIELDS}id client_id sender:u kind content `;
/** The shapes of the frames that the main entry point uses. The entry point `live` checks its own frames. */
const FRAME_SHAPES: { readonly [type: string]: string } = {
  // Removes the prototype, so that a frame type such as `constructor` finds no inherited property.
  __proto__: null as never,
  connected: "user server_time heartbeat_ms:n rooms_version limits:o",
  "room:joined": "rooms:a failed:a",
  ack: `${POSITION_FIELDS}epoch stage duplicate:b client_id`,
  "auth:ok": "expires_at",
  error: "code",
  "message:new": MESSAGE_FIELDS,
  "message:edited": `${CHANGE_FIELDS}content`,
  "message:deleted": CHANGE_FIELDS,
  "reaction:added": `${CHANGE_FIELDS}emoji`,
  "reaction:removed": `${CHANGE_FIELDS}emoji`,
  "member:added": `${MEMBER_FIELDS}role`,
  "member:changed": `${MEMBER_FIELDS}role`,
  "member:removed": MEMBER_FIELDS,
  "room:updated": `${POSITION_FIELDS}by`,
  "message:void": `${POSITION_FIELDS}target:n client_id by reason`,
  void: POSITION_FIELDS,
  "room:caught_up": "room epoch seq:n",
  "room:gap": "room after:n head:c",
  "room:added": "room kind role from:c",
  "room:removed": "room seq:n",
  "rooms:changed": "rooms_version",
  "room:activity": "room seq:n from:c",
  "rooms:activity": "after_ms:n",
  draining: "reconnect_after_ms:n",
};

/** The shapes of HTTP answers and of the elements of arrays. */
export const SHAPES = {
  message: `${MESSAGE_FIELDS}last_seq:n`,
  room: "room kind members:n head:c updated_at",
  mark: "user seq:n",
  member: "user role",
  attachment: "name url? file? media_type size:n",
  reaction: "emoji count:n users:a",
  joined: "room read_seq?:n head?:c",
  failed: "room code",
  cursor: "epoch seq:n",
  page: "messages:a head:c",
} as const;

/** Whether a value is an object whose fields match a shape. */
export function hasShape(value: unknown, shape: string): boolean {
  if (typeof value !== "object" || !value) return false;
  return [...shape.matchAll(/(\w+)(\??):?(\w?)/g)].every(([, name = "", optional, kind = ""]) => {
    const field = (value as { [name: string]: unknown })[name];
    return field == null ? !!optional : FIELD_CHECKS[kind || "s"]?.(field);
  });
}

/** Returns the value if it has the shape. Throws TidingsError `protocol` for any other value. */
export function assertShape<T>(value: T, shape: string): T {
  if (!hasShape(value, shape)) throw new TidingsError("protocol");
  return value;
}

/** Returns the elements of a list that have the shape. Returns an empty list if `list` is not an array. */
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
  !!FRAME_SHAPES[frame.type]?.startsWith(POSITION_FIELDS) && frame.type !== "ack";

/** Parses the text of a frame. Returns undefined when the text is not a valid frame. */
export function parseFrame(text: unknown): ServerFrame | undefined {
  try {
    return asFrame(JSON.parse(String(text)));
  } catch {
    return undefined;
  }
}
