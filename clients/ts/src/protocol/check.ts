import { TidingsError } from "../errors.js";
import type { LogEvent, ServerFrame } from "./frames.js";

/** The forms of fields: string, number, boolean, array, object, cursor, and object with an id. */
const KINDS: { readonly [name: string]: (value: unknown) => boolean } = {
  s: (value) => typeof value === "string",
  n: (value) => Number.isFinite(value),
  b: (value) => typeof value === "boolean",
  a: Array.isArray,
  o: (value) => typeof value === "object" && !Array.isArray(value),
  c: (value) => has(value, FORMS.cursor),
  u: (value) => has(value, "id"),
};

/** What must be there of each frame: the name of a field and its form, none for strings; with a `?` it may be left out or null. */
const POSITIONED = "room seq:n at ";
const CHANGE = `${POSITIONED}target:n target_id by `;
const MEMBER = `${POSITIONED}user by `;
const MESSAGE = `${POSITIONED}id client_id sender:u kind content reply_to?:n attachments?:a `;
const PRESENCE = "user status last_seen?";
const TYPING = "room user:u expires_ms?:n";
const MARKS = "room marks:a";
const FRAMES: { readonly [type: string]: string } = {
  // So that nothing is found here but what stands here.
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

/** Forms of what comes over HTTP, and of what arrays hold. */
export const FORMS = {
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

/** Whether a value has the fields of a form. */
export function has(value: unknown, form: string): boolean {
  if (typeof value !== "object" || !value) return false;
  return [...form.matchAll(/(\w+)(\??):?(\w?)/g)].every(([, name = "", optional, kind = ""]) => {
    const field = (value as { [name: string]: unknown })[name];
    return field == null ? !!optional : KINDS[kind || "s"]?.(field);
  });
}

/** The value, where it has the form. Throws TidingsError `protocol` where it has not. */
export function must<T>(value: T, form: string): T {
  if (!has(value, form)) throw new TidingsError("protocol");
  return value;
}

/** Those of a list that have the form; anything else is none. */
export function only<T>(list: unknown, form: string): T[] {
  return Array.isArray(list) ? (list.filter((value) => has(value, form)) as T[]) : [];
}

/** A frame that can be relied on; `undefined` for what is none, or is not whole. */
export function asFrame(value: unknown): ServerFrame | undefined {
  if (!has(value, "type")) return undefined;
  const frame = value as ServerFrame;
  // Types from the future are frames as well: they are shown to who listens, and change nothing.
  return has(frame, FRAMES[frame.type] ?? "") ? frame : undefined;
}

/** Whether a frame stands in the log of a room. */
export const isEvent = (frame: ServerFrame): frame is LogEvent =>
  !!FRAMES[frame.type]?.startsWith(POSITIONED) && frame.type !== "ack";

/** Reads the text of a frame. */
export function parseFrame(text: unknown): ServerFrame | undefined {
  try {
    return asFrame(JSON.parse(String(text)));
  } catch {
    return undefined;
  }
}
