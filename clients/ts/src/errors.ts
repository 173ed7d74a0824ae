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

/** The optional fields of an error. Times are in milliseconds. */
export interface ErrorDetails {
  readonly reason?: string | undefined;
  readonly field?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly closeCode?: number | undefined;
  readonly status?: number | undefined;
  readonly room?: string | undefined;
  /** The epoch (a lifetime of the server's Redis data) has ended: read everything above this seq again. */
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
  /** The epoch (a lifetime of the server's Redis data) has ended: read everything above this seq again. */
  declare readonly after?: number;

  constructor(code: ErrorCode, message?: string, details?: ErrorDetails) {
    super(message || code);
    this.code = code;
    Object.assign(this, details && omitNullish(details));
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

/** Turns any thrown value into a TidingsError. */
export function asError(thrown: unknown, code: ErrorCode = "network"): TidingsError {
  return thrown instanceof TidingsError ? thrown : new TidingsError(code, String(thrown), { cause: thrown });
}

/**
 * Whether a retry would fail again. `unauthorized` is not permanent, because the kit renews the token. `protocol` is
 * not permanent, because the answer may come from the login page of a public network.
 */
export const isPermanent = ({ code }: TidingsError): boolean =>
  /^(not_found|forbidden|bad_request|conflict|too_large|closed)$/.test(code);

/** Makes the error for a message that the server accepted at first and could not store afterwards. */
export const rejectedError = (room: string): TidingsError =>
  new TidingsError("bad_request", "", { reason: "rejected", room });
