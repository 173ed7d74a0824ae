import type { Mutes, TidingsClientLike, TidingsError } from "@tidings/client";

/** How old the muted rooms of a hidden page may be when it decides about a notification, in ms. */
const MAX_AGE_MS = 60_000;
/** The pause after which a failed first read is repeated, in ms. */
const RETRY_MS = 30_000;
/** How long such a decision waits for the server, in ms. */
const DECISION_TIMEOUT_MS = 2_000;

/**
 * Reads the muted rooms when the client has connected for the first time, and again when the page becomes visible, because
 * other devices change them too. Returns a function that ends this. Failures are not shown, and the first read is
 * repeated until it succeeds.
 */
export function keepMutes(client: TidingsClientLike, mutes: Mutes): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  /** The user whose mutes are loaded, or whose server has no push. */
  let settledFor: string | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const read = () => {
    const user = client.me.get()?.id;
    if (user === undefined || user === settledFor || client.connection.get().state !== "connected") return;
    settledFor = user;
    mutes.load().catch(({ code }: TidingsError) => {
      // A server without push is not asked again, because the browser logs each failed request.
      if (code === "not_found" || settledFor !== user || signal.aborted) return;
      settledFor = undefined;
      clearTimeout(timer);
      timer = setTimeout(read, RETRY_MS);
    });
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  for (const store of [client.connection, client.me]) signal.addEventListener("abort", store.subscribe(read));
  const onVisible = () => {
    if (!document.hidden) refreshMutes(mutes);
  };
  document.addEventListener("visibilitychange", onVisible, { signal });
  read();
  return () => controller.abort();
}

/** Reads the muted rooms again if they are known. Never fails; then what is known stays. */
export async function refreshMutes(mutes: Mutes): Promise<void> {
  if (mutes.get()) await mutes.load().catch(() => undefined);
}

/** Returns a function that says whether the user has muted a room, also on another device a minute ago. */
export function createMuteCheck(mutes: Mutes): (room: string) => Promise<boolean> {
  let readAt = 0;
  let reading = Promise.resolve();
  return async (room) => {
    if (!mutes.get()) return false;
    if (Math.abs(Date.now() - readAt) > MAX_AGE_MS) {
      readAt = Date.now();
      reading = refreshMutes(mutes);
    }
    await Promise.race([reading, new Promise((done) => setTimeout(done, DECISION_TIMEOUT_MS))]);
    return mutes.get()?.has(room) === true;
  };
}
