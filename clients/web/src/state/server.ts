/** The addresses of the chat servers, as the demo's own server reports them. */
export interface DemoConfig {
  readonly gateways: readonly string[];
  readonly persistence: readonly string[];
  /** Whether the servers have files. */
  readonly files?: boolean;
  /** Whether the servers have push, so that users can mute rooms. */
  readonly push?: boolean;
  /** The origins of the pictures of users. */
  readonly pictures?: readonly string[];
}

async function request<T>(path: string, init?: RequestInit): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new Error("The server could not be reached.");
  }
  const body: unknown = await answer.json().catch(() => undefined);
  if (answer.ok) return body as T;
  const detail = (body as { detail?: unknown } | undefined)?.detail;
  throw new Error(typeof detail === "string" ? detail : `The server returned the error ${answer.status}.`);
}

/** Fetches the addresses of the chat servers. */
export const fetchConfig = (): Promise<DemoConfig> => request<DemoConfig>("/dev/config");

/** Fetches a token for a name from the demo's server. */
export function fetchToken(name: string): Promise<{ token: string; user: string; name: string }> {
  const headers = { "Content-Type": "application/json" };
  return request("/dev/token", { method: "POST", headers, body: JSON.stringify({ name }) });
}

/**
 * Returns a function that picks the server for each connection attempt: first a random server, then the next one each
 * time. So an unreachable server fails only one attempt. `?gateway=0` in the page's address selects one server.
 */
export function createOriginPicker(
  origins: readonly string[],
  search: string,
  random: () => number = Math.random,
): () => string {
  const requested = new URLSearchParams(search).get("gateway");
  const pinnedOrigin = requested === null || requested === "" ? undefined : origins[Number(requested)];
  let at = Math.floor(random() * origins.length);
  return () => {
    const nextOrigin = pinnedOrigin ?? origins[at];
    at = (at + 1) % origins.length;
    if (nextOrigin === undefined) throw new Error("The server did not name a gateway.");
    return nextOrigin;
  };
}
