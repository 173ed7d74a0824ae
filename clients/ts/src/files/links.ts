/** The addresses of files. Each is good for some minutes, and is asked for again shortly before it ends. */
import type { Core } from "../core.js";
import { TidingsError } from "../errors.js";
import { assertShape } from "../protocol/check.js";
import { sendRequest } from "./request.js";
import type { FileLink, Files } from "./types.js";

/** How long before its end a link is no longer given out, in milliseconds. */
const RENEW_BEFORE_MS = 30_000;
/** The time for which a link counts as good, in milliseconds, if the clock of this device is wrong. */
const MIN_LIFETIME_MS = 60_000;
const MAX_LIFETIME_MS = 300_000;
/** How many links are kept. */
const MAX_LINKS = 500;

/** Whether a link was refused because a scanner still checks the file. */
export const isHeld: Files["isHeld"] = (error) => {
  const { code, reason } = (error ?? {}) as { code?: string; reason?: string };
  return code === "held" || reason === "held";
};

/** The links of the current user. Callers that ask for the same file share one request. */
export interface Links {
  readonly link: Files["link"];
  /** Forgets all links, because another user has connected. */
  readonly clear: () => void;
}

/** Makes the links of a client. */
export function createLinks(core: Core): Links {
  const links = new Map<string, FileLink>();
  const requests = new Map<string, Promise<FileLink>>();
  const ask = async (path: string, signal: AbortSignal | undefined): Promise<FileLink> => {
    const { body } = await sendRequest(core, { method: "GET", path, signal });
    const { url, expires_at } = assertShape(body as { url: string; expires_at: string }, "url expires_at");
    const now = core.env.timers.now();
    const lifetime = Date.parse(expires_at) - now || 0;
    const expiresAt = now + Math.min(Math.max(lifetime, MIN_LIFETIME_MS), MAX_LIFETIME_MS);
    // A path belongs to the server. Any other scheme could run code in the page.
    if (!/^(https?:\/)?\//i.test(url)) throw new TidingsError("protocol");
    const link = { url: url.startsWith("/") ? (await core.env.origin()) + url : url, expiresAt };
    links.delete(path);
    links.set(path, link);
    const [oldest] = links.keys();
    if (links.size > MAX_LINKS && oldest) links.delete(oldest);
    return link;
  };
  const link: Files["link"] = async ({ room, seq }, { url, file }, { signal, fresh, preview } = {}) => {
    if (url !== undefined) return { url, expiresAt: Number.POSITIVE_INFINITY };
    if (file === undefined || seq === undefined)
      throw new TidingsError("not_found", "The message is not sent yet");
    const path =
      `/rooms/${encodeURIComponent(room)}/messages/${seq}/files/${encodeURIComponent(file)}` +
      (preview ? "?preview=1" : "");
    const known = links.get(path);
    if (!fresh && known && known.expiresAt - RENEW_BEFORE_MS > core.env.timers.now()) return known;
    // A caller with a signal must not end the request of others.
    if (signal) return ask(path, signal);
    let request = requests.get(path);
    if (!request) {
      request = ask(path, undefined).finally(() => requests.delete(path));
      requests.set(path, request);
    }
    return request;
  };
  return { link, clear: () => links.clear() };
}
