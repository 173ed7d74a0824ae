import { type ErrorCode, TidingsError } from "./errors.js";

/** What an end of a connection asks for. */
export interface Verdict {
  /** `token`: retry with a new token; `poll`: not over a WebSocket; `stop`: not at all. */
  readonly way: "retry" | "token" | "poll" | "stop";
  readonly error: TidingsError;
}

/** What the page on the protocol says of each close code; all others: back off, then reconnect. */
const UNCHANGED = ["stop", "protocol"] as const;
const PASSING = ["retry", "unavailable"] as const;
const CODES: { readonly [code: number]: readonly [Verdict["way"], ErrorCode] } = {
  // Unchanged the same would happen again.
  1002: UNCHANGED,
  1003: UNCHANGED,
  1007: UNCHANGED,
  1009: UNCHANGED,
  1012: PASSING,
  1013: PASSING,
  4401: ["token", "unauthorized"],
  4403: ["stop", "forbidden"],
  4409: ["stop", "conflict"],
  4410: ["poll", "unavailable"],
  4429: ["retry", "rate_limited"],
};
/** How long who abused limits stays away at least, in milliseconds. */
const ABUSE_MS = 30_000;

/** Reads the end of a connection; `told` is the refusal that came before it. */
export function verdict(closeCode: number, message: string, told?: TidingsError): Verdict {
  const [way, code] = CODES[closeCode] ?? ["retry", "network"];
  const retryAfterMs = closeCode === 4429 ? ABUSE_MS : told?.retryAfterMs;
  const { reason, status } = told ?? {};
  const details = { reason, status, retryAfterMs, closeCode: status ? undefined : closeCode };
  return {
    way,
    error: new TidingsError(
      code === "protocol" ? code : (told?.code ?? code),
      told?.message || message,
      details,
    ),
  };
}
