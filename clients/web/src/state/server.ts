/** Where the chat is, as the demo's server tells it. */
export interface Config {
  readonly gateways: readonly string[];
  readonly persistence: readonly string[];
}

/** A refusal of the demo's server, in words. */
export class ServerError extends Error {}

async function ask<T>(path: string, init?: RequestInit): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new ServerError("The server could not be reached.");
  }
  const body: unknown = await answer.json().catch(() => undefined);
  if (answer.ok) return body as T;
  const detail = (body as { detail?: unknown } | undefined)?.detail;
  throw new ServerError(typeof detail === "string" ? detail : `The server answered ${answer.status}.`);
}

/** Reads where the chat is. */
export const readConfig = (): Promise<Config> => ask<Config>("/dev/config");

/** Asks for a token for a name. */
export function askToken(name: string): Promise<{ token: string; user: string; name: string }> {
  const headers = { "Content-Type": "application/json" };
  return ask("/dev/token", { method: "POST", headers, body: JSON.stringify({ name }) });
}

/**
 * Picks where to connect to: any of them first, then the next each time it is asked, so that one that is away costs one
 * attempt; `?gateway=0` in the page's address keeps to one.
 */
export function originPicker(
  origins: readonly string[],
  search: string,
  random: () => number = Math.random,
): () => string {
  const asked = new URLSearchParams(search).get("gateway");
  const pinned = asked === null || asked === "" ? undefined : origins[Number(asked)];
  let at = Math.floor(random() * origins.length);
  return () => {
    const picked = pinned ?? origins[at];
    at = (at + 1) % origins.length;
    if (picked === undefined) throw new ServerError("The server names no gateway.");
    return picked;
  };
}
