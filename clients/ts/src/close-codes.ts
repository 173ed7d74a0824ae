import { type ErrorCode, TidingsError } from "./errors.js";

/** How the client reacts to the end of a connection. */
export interface CloseReaction {
  /** `token`: retry with a new token; `poll`: retry with polls instead of a WebSocket; `stop`: do not retry. */
  readonly action: "retry" | "token" | "poll" | "stop";
  readonly error: TidingsError;
}

const STOP_AS_PROTOCOL_ERROR = ["stop", "protocol"] as const;
const RETRY_AS_UNAVAILABLE = ["retry", "unavailable"] as const;
/** The action and the error code for each close code. After any other code the client retries, with growing pauses. */
const REACTION_BY_CLOSE_CODE: { readonly [code: number]: readonly [CloseReaction["action"], ErrorCode] } = {
  // The client stops, because another connection would fail in the same way.
  1002: STOP_AS_PROTOCOL_ERROR,
  1003: STOP_AS_PROTOCOL_ERROR,
  1007: STOP_AS_PROTOCOL_ERROR,
  1009: STOP_AS_PROTOCOL_ERROR,
  1012: RETRY_AS_UNAVAILABLE,
  1013: RETRY_AS_UNAVAILABLE,
  4401: ["token", "unauthorized"],
  4403: ["stop", "forbidden"],
  4409: ["stop", "conflict"],
  4410: ["poll", "unavailable"],
  4429: ["retry", "rate_limited"],
};
/** The shortest pause after close code 4429 (the client exceeded limits too often), in milliseconds. */
const MIN_ABUSE_DELAY_MS = 30_000;

/** Returns the reaction to a close. `serverError` is the error that the server sent directly before, if any. */
export function interpretClose(
  closeCode: number,
  message: string,
  serverError?: TidingsError,
): CloseReaction {
  const [action, code] = REACTION_BY_CLOSE_CODE[closeCode] ?? ["retry", "network"];
  const retryAfterMs = closeCode === 4429 ? MIN_ABUSE_DELAY_MS : serverError?.retryAfterMs;
  const { reason, status } = serverError ?? {};
  const details = { reason, status, retryAfterMs, closeCode: status ? undefined : closeCode };
  return {
    action,
    error: new TidingsError(
      code === "protocol" ? code : (serverError?.code ?? code),
      serverError?.message || message,
      details,
    ),
  };
}
