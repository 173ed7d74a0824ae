import type { TidingsClientLike } from "@tidings/client";
import { enablePush } from "@tidings/client/push";
import { notifyPermission } from "./notifyPermission.js";

/**
 * Registers this browser for push messages as soon as the client is connected and the user permits notifications, and
 * again when the service worker says that its subscription has changed. Returns a function that ends this.
 *
 * Failures are not shown, because the page works without push. The next connection tries again.
 */
export function keepPush(client: TidingsClientLike): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  /** The user for whom the server has answered. */
  let settledFor: string | undefined;
  let isBusy = false;
  /** Whether the subscription has changed since the last registration began. */
  let hasChanged = false;
  const enable = async (registration: ServiceWorkerRegistration): Promise<void> => {
    const user = client.me.get()?.id;
    const isConnected = client.connection.get().state === "connected";
    if (isBusy || !user || !isConnected || user === settledFor || notifyPermission() !== "granted") return;
    isBusy = true;
    hasChanged = false;
    const state = await enablePush(client, { registration, signal }).catch(() => undefined);
    isBusy = false;
    if (hasChanged || client.me.get()?.id !== user) return enable(registration);
    // A server without push is not asked again, because the browser logs each failed request.
    if (state === "enabled" || state === "not_offered") settledFor = user;
  };
  const start = async () => {
    // Stays pending while the page has no service worker.
    const registration = await navigator.serviceWorker?.ready;
    if (registration === undefined || signal.aborted) return;
    const update = () => void enable(registration);
    for (const store of [client.connection, client.me])
      signal.addEventListener("abort", store.subscribe(update));
    const onWorkerMessage = ({ data }: MessageEvent) => {
      if (data?.type !== "tidings:subscription") return;
      settledFor = undefined;
      hasChanged = true;
      update();
    };
    navigator.serviceWorker.addEventListener("message", onWorkerMessage, { signal });
    update();
    const permission = await navigator.permissions?.query({ name: "notifications" });
    permission?.addEventListener("change", update, { signal });
  };
  // Without the permissions of the browser, the next connection notices a new permission.
  start().catch(() => {});
  return () => controller.abort();
}
