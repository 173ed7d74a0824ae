import { backoff } from "../backoff.js";
import type { Env } from "../env.js";
import { asError, type ErrorCode, errorFrom, TidingsError } from "../errors.js";
import { tidy } from "../tidy.js";
import { pause, within } from "../timers.js";
import type { Tokens } from "./tokens.js";

/** A request is given up after that many milliseconds; the slowest of the server waits for 8 s. */
const TIMEOUT_MS = 12_000;
/** Tries of what may be repeated, and the longest pause that it is worth to wait for, in milliseconds. */
const TRIES = 4;
const LONGEST_PAUSE_MS = 10_000;

/** What a request may be given. */
export interface HttpOptions {
  readonly signal?: AbortSignal | undefined;
}

/** One request as it goes out. */
interface Call {
  readonly method?: string;
  readonly token?: string;
  readonly body?: unknown;
  /** Milliseconds after which it is given up. */
  readonly ms: number;
  readonly signal?: AbortSignal | undefined;
}

/** What a refusal means that says nothing of itself, such as that of a proxy. */
const CODES: { readonly [status: number]: ErrorCode } = {
  401: "unauthorized",
  403: "forbidden",
  404: "not_found",
  409: "conflict",
  413: "too_large",
  429: "rate_limited",
};

/** One request and its answer. Rejects with TidingsError; `closed` where `signal` ended it. */
export async function call<T>(
  env: Env,
  url: string,
  { method = "GET", token, body, ms, signal }: Call,
): Promise<T> {
  const controller = new AbortController();
  const end = () => controller.abort();
  const work = async (): Promise<T> => {
    const response = await env.fetch(url, {
      method,
      headers: tidy({
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
      // A proxy's page: of a refusal the status says enough.
      if (ok) throw asError(thrown, "protocol");
    }
    if (ok) return read as T;
    const retryAfterMs = Number(headers.get("retry-after")) * 1_000 || undefined;
    throw errorFrom(read, CODES[status] ?? (status < 500 ? "bad_request" : "unavailable"), {
      status,
      retryAfterMs,
    });
  };
  signal?.addEventListener("abort", end);
  try {
    if (signal?.aborted) end();
    return await within(env.timers, ms, work);
  } catch (thrown) {
    throw signal?.aborted ? new TidingsError("closed") : asError(thrown);
  } finally {
    // What came too late is let go.
    end();
    signal?.removeEventListener("abort", end);
  }
}

/** The HTTP interface. Everything but POST is repeated when the network or the server was not there. */
export class Http {
  readonly #env: Env;
  readonly #tokens: Tokens;

  constructor(env: Env, tokens: Tokens) {
    this.#env = env;
    this.#tokens = tokens;
  }

  /** Sends one request, `path` below /v1. Rejects with TidingsError; at once where `signal` ends it. */
  send<T>(method: string, path: string, body?: unknown, { signal }: HttpOptions = {}): Promise<T> {
    const work = this.#send<T>(method, path, body, signal);
    if (!signal) return work;
    return new Promise((resolve, reject) => {
      const end = () => reject(new TidingsError("closed"));
      if (signal.aborted) end();
      signal.addEventListener("abort", end);
      work.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
    });
  }

  async #send<T>(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<T> {
    const env = this.#env;
    let refused: string | undefined;
    for (let tries = 1; ; tries++) {
      let token: string | undefined;
      try {
        token = await this.#tokens.get(refused);
        return await call<T>(env, `${await env.origin()}/v1${path}`, {
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
        // What was removed by a request whose answer was lost is gone, and that was asked for.
        if (method === "DELETE" && tries > 1 && code === "not_found") return undefined as T;
        const wait = backoff(tries, env.random, retryAfterMs);
        const passing =
          /^(network|timeout|unavailable|overloaded)$/.test(code) || (status === 429 && retryAfterMs);
        if (method === "POST" || !passing || tries >= TRIES || wait > LONGEST_PAUSE_MS) throw error;
        await pause(env.timers, wait).done;
      }
    }
  }
}

/** A query string of what is given, with its question mark; "" when nothing is. */
export function query(parts: { [name: string]: string | number | undefined }): string {
  const given = Object.entries(parts).filter(([, value]) => value !== undefined && value !== "");
  const text = given.map(([name, value]) => `${name}=${encodeURIComponent(value as string)}`).join("&");
  return text && `?${text}`;
}
