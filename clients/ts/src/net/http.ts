import { backoffMs } from "../backoff.js";
import type { Env } from "../env.js";
import { asError, type ErrorCode, errorFrom, TidingsError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import { pause, withTimeout } from "../timers.js";
import type { Tokens } from "./tokens.js";

/** The time limit of a request, in milliseconds. The server answers within 8 s. */
const REQUEST_TIMEOUT_MS = 12_000;
/**
 * How often a repeatable request is tried, and the longest pause between tries, in milliseconds. The request fails
 * if the server asks for a longer pause.
 */
const MAX_TRIES = 4;
const MAX_PAUSE_MS = 10_000;

/** The options of an HTTP request. */
export interface HttpOptions {
  /** Ends the request; its promise then rejects with TidingsError `closed`. */
  readonly signal?: AbortSignal | undefined;
}

/** The method, the token, the body and the limits of one request. */
interface CallOptions {
  readonly method?: string;
  readonly token?: string;
  readonly body?: unknown;
  /** The time limit in milliseconds. */
  readonly ms: number;
  readonly signal?: AbortSignal | undefined;
}

/** Error codes for answers without a problem document, such as those of a proxy. */
const CODE_BY_STATUS: { readonly [status: number]: ErrorCode } = {
  401: "unauthorized",
  403: "forbidden",
  404: "not_found",
  409: "conflict",
  413: "too_large",
  429: "rate_limited",
};

/**
 * Runs a request for at most `ms` milliseconds. The signal that it gets is aborted when the time is over, or when the app
 * aborts `signal`. Rejects with TidingsError, `closed` when the app has aborted it.
 */
export async function runRequest<T>(
  { timers }: Env,
  ms: number,
  signal: AbortSignal | undefined,
  request: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (signal?.aborted) throw new TidingsError("closed");
  const controller = new AbortController();
  try {
    return await abortable(
      withTimeout(timers, ms, () => request(controller.signal)),
      signal,
    );
  } catch (thrown) {
    throw asError(thrown);
  } finally {
    controller.abort();
  }
}

/** The error of a request that was refused with this parsed body. */
export const refusalOf = ({ status, headers }: Response, problem: unknown): TidingsError =>
  errorFrom(problem, CODE_BY_STATUS[status] ?? (status < 500 ? "bad_request" : "unavailable"), {
    status,
    retryAfterMs: Number(headers.get("retry-after")) * 1_000 || undefined,
  });

/** Sends one request and returns its answer. Rejects with TidingsError; `closed` when `signal` aborted it. */
export function callHttp<T>(
  env: Env,
  url: string,
  { method = "GET", token, body, ms, signal: aborted }: CallOptions,
): Promise<T> {
  return runRequest(env, ms, aborted, async (signal) => {
    const response = await env.fetch(url, {
      method,
      headers: omitNullish({
        authorization: token && `Bearer ${token}`,
        "content-type": body ? "application/json" : undefined,
      }),
      body: body ? JSON.stringify(body) : null,
      signal,
    });
    const { ok } = response;
    const text = await response.text();
    let parsed: unknown;
    try {
      parsed = text ? JSON.parse(text) : undefined;
    } catch (thrown) {
      // The body is not JSON, for example the page of a proxy. For a failed request the HTTP status is enough.
      if (ok) throw asError(thrown, "protocol");
    }
    if (ok) return parsed as T;
    throw refusalOf(response, parsed);
  });
}

/** Sends a request; `path` is below /v1. Rejects with TidingsError, at once when `signal` aborts it. */
export type Http = <T>(method: string, path: string, body?: unknown, options?: HttpOptions) => Promise<T>;

/** Returns the function that sends HTTP requests. After a temporary failure it repeats all methods but POST. */
export function createHttp(env: Env, tokens: Tokens): Http {
  const send = async <T>(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<T> => {
    const generation = tokens.generation();
    let tokenRefused = false;
    for (let tries = 1; ; tries++) {
      let token: string | undefined;
      try {
        token = await tokens.get();
        // A request of one user must not be sent with the token of the next user.
        if (generation !== tokens.generation()) throw new TidingsError("disconnected");
        return await callHttp<T>(env, `${await env.origin()}/v1${path}`, {
          method,
          token,
          body,
          ms: REQUEST_TIMEOUT_MS,
          signal,
        });
      } catch (thrown) {
        const error = asError(thrown);
        const { code, status, retryAfterMs } = error;
        if (status === 401) {
          tokens.refuse(error, token);
          if (!tokenRefused) {
            tokenRefused = true;
            continue;
          }
        }
        // An earlier try may have deleted the object without its answer arriving, so `not_found` means success.
        if (method === "DELETE" && tries > 1 && code === "not_found") return undefined as T;
        const wait = backoffMs(tries, env.random, retryAfterMs);
        const isTemporary =
          /^(network|timeout|unavailable|overloaded)$/.test(code) || (status === 429 && retryAfterMs);
        if (method === "POST" || !isTemporary || tries >= MAX_TRIES || wait > MAX_PAUSE_MS) throw error;
        await pause(env.timers, wait).done;
      }
    }
  };
  return (method, path, body, { signal } = {}) => abortable(send(method, path, body, signal), signal);
}

/** Returns the result of `work`. Rejects with TidingsError `closed` at once when `signal` aborts. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const rejectClosed = () => reject(new TidingsError("closed"));
    if (signal.aborted) rejectClosed();
    signal.addEventListener("abort", rejectClosed);
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", rejectClosed));
  });
}

/**
 * Makes a query string such as `?limit=50`, without values that are undefined or "". Returns "" if no value remains.
 */
export function queryString(parts: { [name: string]: string | number | undefined }): string {
  const present = Object.entries(parts).filter(([, value]) => value !== undefined && value !== "");
  const text = present.map(([name, value]) => `${name}=${encodeURIComponent(value as string)}`).join("&");
  return text && `?${text}`;
}
