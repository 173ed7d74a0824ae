import type { WireCode } from "./protocol/objects.js";
import { tidy } from "./tidy.js";

/** What went wrong: the codes of the wire, and those of the kit itself. */
export type ErrorCode =
  | WireCode
  | "timeout"
  | "disconnected"
  | "network"
  | "outbox_full"
  | "closed"
  | "protocol";

/** What a refusal may tell beside its code. Times are milliseconds. */
export interface ErrorDetails {
  readonly reason?: string | undefined;
  readonly field?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly closeCode?: number | undefined;
  readonly status?: number | undefined;
  readonly room?: string | undefined;
  /** The seq above which all is to be read anew, where an epoch is past. */
  readonly after?: number | undefined;
  readonly cause?: unknown;
}

/** The only error that the kit rejects with or reports. `message` is for people. */
export class TidingsError extends Error {
  override readonly name = "TidingsError";
  readonly code: ErrorCode;
  declare readonly reason?: string;
  declare readonly field?: string;
  /** Milliseconds to wait before the same is worth asking again. */
  declare readonly retryAfterMs?: number;
  /** Close code of the WebSocket that ended with it. */
  declare readonly closeCode?: number;
  /** Status of the HTTP answer. */
  declare readonly status?: number;
  declare readonly room?: string;
  /** The seq above which all is to be read anew, where an epoch is past. */
  declare readonly after?: number;

  constructor(code: ErrorCode, message?: string, details?: ErrorDetails) {
    super(message || code);
    this.code = code;
    Object.assign(this, details && tidy(details));
  }
}

/** Reads the fields of an `error` frame, of a problem document, or of an entry that was kept. */
export function errorFrom(body: unknown, fallback: ErrorCode, extra?: ErrorDetails): TidingsError {
  const told = (body ?? {}) as { [field: string]: string | undefined };
  const { reason, field, room } = told;
  return new TidingsError((told.code ?? fallback) as ErrorCode, told.message ?? told.detail, {
    reason,
    field,
    room,
    ...extra,
    after: number(told.after),
    retryAfterMs: number(told.retry_after_ms) ?? extra?.retryAfterMs,
  });
}

const number = (value: unknown) => (typeof value === "number" ? value : undefined);

/** Turns whatever was thrown into a TidingsError. */
export function asError(thrown: unknown, code: ErrorCode = "network"): TidingsError {
  return thrown instanceof TidingsError ? thrown : new TidingsError(code, String(thrown), { cause: thrown });
}

/** Refusals that the same request would meet again. Another token may come, and the page of a portal goes away. */
export const lasting = ({ code }: TidingsError): boolean =>
  /^(not_found|forbidden|bad_request|conflict|too_large|closed)$/.test(code);

/** What was accepted could not be written. */
export const rejected = (room: string): TidingsError =>
  new TidingsError("bad_request", "", { reason: "rejected", room });
