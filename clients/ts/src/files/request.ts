/** HTTP requests with headers and bytes, which the requests of the main entry do not have. */
import type { Core } from "../core.js";
import { asError, TidingsError } from "../errors.js";
import { refusalOf, runRequest } from "../net/http.js";
import { omitNullish } from "../omit-nullish.js";

/** One request. */
export interface FileRequest {
  readonly method: string;
  /** The path below /v1. */
  readonly path: string;
  /** A body of bytes, or an object that is sent as JSON. */
  readonly body?: object;
  readonly headers?: { readonly [name: string]: string };
  /** The time limit in milliseconds. */
  readonly ms?: number;
  readonly signal?: AbortSignal | undefined;
}

/** The answer to a request that succeeded, or to bytes of which the server has not taken all. */
export interface FileAnswer {
  readonly status: number;
  readonly body: unknown;
  /** The header `Upload-Offset`, in bytes. */
  readonly offset: number | undefined;
}

/** The time limit of a request without bytes, in milliseconds. `complete` may wait for the server to check the file. */
const REQUEST_TIMEOUT_MS = 60_000;

/**
 * Sends one request with the user's token. A refused token is renewed once. Resolves also for a refusal of
 * bytes that names the offset from which to continue. Rejects with TidingsError.
 */
export async function sendRequest(core: Core, request: FileRequest): Promise<FileAnswer> {
  const { tokens } = core;
  const generation = tokens.generation();
  for (let tries = 1; ; tries++) {
    let token: string | undefined;
    try {
      token = await tokens.get();
      // A request of one user must not be sent with the token of the next user.
      if (generation !== tokens.generation()) throw new TidingsError("disconnected");
      return await sendOnce(core, request, token);
    } catch (thrown) {
      const error = asError(thrown);
      if (error.status !== 401) throw error;
      tokens.refuse(error, token);
      if (tries > 1) throw error;
    }
  }
}

function sendOnce({ env }: Core, request: FileRequest, token: string): Promise<FileAnswer> {
  const { method, path, body, headers, ms = REQUEST_TIMEOUT_MS } = request;
  const isBytes = body instanceof Blob;
  return runRequest(env, ms, request.signal, async (signal) => {
    const response = await env.fetch(`${await env.origin()}/v1${path}`, {
      method,
      headers: omitNullish({
        authorization: `Bearer ${token}`,
        accept: "application/json",
        "content-type": body && !isBytes ? "application/json" : undefined,
        ...headers,
      }),
      body: body ? (isBytes ? body : JSON.stringify(body)) : null,
      signal,
    });
    const { ok, status } = response;
    const parsed = parse(await response.text());
    const offset = toOffset(response.headers.get("upload-offset"));
    const tellsOffset = method === "PATCH" && (status === 400 || status === 409) && offset !== undefined;
    if (ok || tellsOffset) return { status, body: parsed, offset };
    throw refusalOf(response, parsed);
  });
}

/**
 * Sends bytes to another server without the user's token, because the URL itself grants the permission. If it rejects
 * with TidingsError, the caller asks for a new URL.
 */
export const sendBytes = (
  { env }: Core,
  url: string,
  body: Blob,
  ms: number,
  aborted: AbortSignal,
): Promise<void> =>
  runRequest(env, ms, aborted, async (signal) => {
    const { ok, status } = await env.fetch(url, { method: "PUT", body, signal });
    if (!ok) throw new TidingsError("unavailable", "The storage did not take the bytes", { status });
  });

/** Returns undefined for a text that is not JSON, such as the page of a proxy. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const toOffset = (header: string | null) => (header && /^\d+$/.test(header) ? Number(header) : undefined);
