import { omitNullish } from "./omit-nullish.js";
import type { WireCode } from "./protocol/objects.js";

/** The error codes that the server sends, and those that only the kit uses. */
export type ErrorCode =
  | WireCode
  | "timeout"
  | "disconnected"
  | "network"
  | "outbox_full"
  | "closed"
  | "protocol";

/** The messages of errors with the kit's own codes. */
const DEFAULT_MESSAGES: { readonly [code: string]: string } = {
  timeout: "No answer came in time",
  disconnected: "The client is not connected",
  network: "The server could not be reached",
  outbox_full: "The outbox is full",
  closed: "The client was closed",
  protocol: "The answer is not from a Tidings server",
};

/** Returns the message of an error that names only its code. */
export const defaultMessage = (code: string) => DEFAULT_MESSAGES[code] ?? `The server answered ${code}`;

/** The optional fields of an error. Times are in milliseconds. */
export interface ErrorDetails {
  readonly reason?: string | undefined;
  readonly field?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly closeCode?: number | undefined;
  readonly status?: number | undefined;
  readonly room?: string | undefined;
  /** Set when an epoch (a lifetime of the server's Redis data) has ended: read everything above this seq again. */
  readonly after?: number | undefined;
  readonly cause?: unknown;
}

/** The only error that the kit throws, rejects with or reports. Programs use `code`; `message` is for people. */
export class TidingsError extends Error {
  override readonly name = "TidingsError";
  readonly code: ErrorCode;
  declare readonly reason?: string;
  declare readonly field?: string;
  /** Milliseconds to wait before a retry can succeed. */
  declare readonly retryAfterMs?: number;
  /** The close code of the WebSocket. */
  declare readonly closeCode?: number;
  /** The status of the HTTP answer. */
  declare readonly status?: number;
  declare readonly room?: string;
  /** Set when an epoch (a lifetime of the server's Redis data) has ended: read everything above this seq again. */
  declare readonly after?: number;

  constructor(code: ErrorCode, message?: string, details?: ErrorDetails) {
    super(message || defaultMessage(code));
    this.code = code;
    Object.assign(this, details && omitNullish(details));
  }
}

/**
 * The app's option `token` throws this error when the user is signed out. The kit then stops until the next
 * `connect()`.
 */
export class UnauthorizedError extends TidingsError {
  constructor(message = "The user is signed out", details?: ErrorDetails) {
    super("unauthorized", message, details);
  }
}

/** Makes an error from the fields of an `error` frame, of a problem document of HTTP, or of a stored outbox entry. */
export function errorFrom(body: unknown, fallback: ErrorCode, extra?: ErrorDetails): TidingsError {
  const fields = (body ?? {}) as { [field: string]: string | undefined };
  const { reason, field, room } = fields;
  return new TidingsError((fields.code ?? fallback) as ErrorCode, fields.message ?? fields.detail, {
    reason,
    field,
    room,
    ...extra,
    after: asNumber(fields.after),
    retryAfterMs: asNumber(fields.retry_after_ms) ?? extra?.retryAfterMs,
  });
}

const asNumber = (value: unknown) => (typeof value === "number" ? value : undefined);

/** Returns the message of any thrown value. */
export const errorText = (thrown: unknown): string =>
  (thrown as { message?: string } | null)?.message || String(thrown);

/** Turns any thrown value into a TidingsError. */
export function asError(thrown: unknown, code: ErrorCode = "network"): TidingsError {
  return thrown instanceof TidingsError
    ? thrown
    : new TidingsError(code, `${defaultMessage(code)}: ${errorText(thrown)}`, { cause: thrown });
}

/**
 * Whether a retry would fail again. `unauthorized` is not permanent, because the kit renews the token. `protocol` is
 * not permanent, because the answer may come from the login page of a public network.
 */
export const isPermanent = ({ code }: TidingsError): boolean =>
  /^(not_found|forbidden|bad_request|conflict|too_large|closed)$/.test(code);
