import { backoffMs } from "../backoff.js";
import type { Env } from "../env.js";
import { asError, type ErrorCode, errorFrom, TidingsError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import { pause, withTimeout } from "../timers.js";
import type { Tokens } from "./tokens.js";

/** The time limit of a request, in milliseconds; the slowest answer of the server takes 8 s. */
const TIMEOUT_MS = 12_000;
/**
 * How often a repeatable request is tried, and the longest pause between tries, in milliseconds. The request fails
 * if the server asks for a longer pause.
 */
const MAX_TRIES = 4;
const MAX_PAUSE_MS = 10_000;

/** The options of an HTTP request. */
export interface HttpOptions {
  readonly signal?: AbortSignal | undefined;
}

/** The details of one request. */
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

/** Sends one request and returns its answer. Rejects with TidingsError; `closed` when `signal` aborted it. */
export async function callHttp<T>(
  env: Env,
  url: string,
  { method = "GET", token, body, ms, signal }: CallOptions,
): Promise<T> {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const work = async (): Promise<T> => {
    const response = await env.fetch(url, {
      method,
      headers: omitNullish({
        authorization: token && `Bearer ${token}`,
        "content-type": body ? "application/json" : undefined,
      }),
      body: body ? JSON.stringify(body) : null,
      signal: controller.signal,
    });
    const { ok, status, headers } = response;
    const text = await response.text();
    let read: unknown;
    try {
      read = text ? JSON.parse(text) : undefined;
    } catch (thrown) {
      // The body is not JSON, for example the page of a proxy. For a failed request the status suffices.
      if (ok) throw asError(thrown, "protocol");
    }
    if (ok) return read as T;
    const retryAfterMs = Number(headers.get("retry-after")) * 1_000 || undefined;
    throw errorFrom(read, CODE_BY_STATUS[status] ?? (status < 500 ? "bad_request" : "unavailable"), {
      status,
      retryAfterMs,
    });
  };
  signal?.addEventListener("abort", abort);
  try {
    if (signal?.aborted) abort();
    return await withTimeout(env.timers, ms, work);
  } catch (thrown) {
    throw signal?.aborted ? new TidingsError("closed") : asError(thrown);
  } finally {
    // Cancels a request that timed out.
    abort();
    signal?.removeEventListener("abort", abort);
  }
}

/** Sends a request; `path` is below /v1. Rejects with TidingsError, at once when `signal` aborts it. */
export type Http = <T>(method: string, path: string, body?: unknown, options?: HttpOptions) => Promise<T>;

/** Makes the function that sends HTTP requests. After a network or server failure it repeats all methods but POST. */
export function createHttp(env: Env, tokens: Tokens): Http {
  const send = async <T>(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<T> => {
    let refused: string | undefined;
    for (let tries = 1; ; tries++) {
      let token: string | undefined;
      try {
        token = await tokens.get(refused);
        return await callHttp<T>(env, `${await env.origin()}/v1${path}`, {
          method,
          token,
          body,
          ms: TIMEOUT_MS,
          signal,
        });
      } catch (thrown) {
        const error = asError(thrown);
        const { code, status, retryAfterMs } = error;
        if (status === 401 && refused === undefined) {
          refused = token;
          continue;
        }
        // An earlier try deleted the object and its answer was lost, so `not_found` means success.
        if (method === "DELETE" && tries > 1 && code === "not_found") return undefined as T;
        const wait = backoffMs(tries, env.random, retryAfterMs);
        const temporary =
          /^(network|timeout|unavailable|overloaded)$/.test(code) || (status === 429 && retryAfterMs);
        if (method === "POST" || !temporary || tries >= MAX_TRIES || wait > MAX_PAUSE_MS) throw error;
        await pause(env.timers, wait).done;
      }
    }
  };
  return <T>(method: string, path: string, body?: unknown, { signal }: HttpOptions = {}): Promise<T> => {
    const work = send<T>(method, path, body, signal);
    if (!signal) return work;
    return new Promise((resolve, reject) => {
      const end = () => reject(new TidingsError("closed"));
      if (signal.aborted) end();
      signal.addEventListener("abort", end);
      work.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
    });
  };
}

/**
 * Makes a query string such as `?limit=50`, without values that are undefined or "". Returns "" if no value remains.
 */
export function queryString(parts: { [name: string]: string | number | undefined }): string {
  const given = Object.entries(parts).filter(([, value]) => value !== undefined && value !== "");
  const text = given.map(([name, value]) => `${name}=${encodeURIComponent(value as string)}`).join("&");
  return text && `?${text}`;
}
