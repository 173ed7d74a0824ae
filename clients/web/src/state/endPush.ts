import type { TidingsClientLike } from "@tidings/client";
import { disablePush } from "@tidings/client/push";

/** How long a sign-out waits for the server, in ms. */
const SERVER_TIMEOUT_MS = 10_000;

/**
 * Ends the push messages of this browser, and closes the notifications that it shows. Never fails: without the server
 * the subscription ends in the browser.
 */
export async function endPush(client: TidingsClientLike): Promise<void> {
  try {
    await disablePush(client, { signal: AbortSignal.timeout(SERVER_TIMEOUT_MS) }).catch(() => {});
    const worker = await navigator.serviceWorker?.getRegistration();
    for (const notification of (await worker?.getNotifications()) ?? []) notification.close();
  } catch {
    // Browsers forbid service workers in some private windows, which then have no notifications.
  }
}
