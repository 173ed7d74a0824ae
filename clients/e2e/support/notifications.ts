/**
 * The notifications of a service worker. `chromium-headless-shell` has none, so there stand-ins keep what the worker
 * shows; in another Chromium and in Firefox they are real.
 */
import type { BrowserContext, Page } from "playwright-core";
import { usesFirefox } from "../setup/browser.js";

/** A notification as the user sees it. */
export interface ShownNotification {
  readonly title: string;
  readonly body: string;
  readonly tag: string;
}

/** Prepares the notifications of a new context. The user has not permitted them yet. */
export async function prepareNotifications(context: BrowserContext, origin: string): Promise<void> {
  if (usesFirefox) return;
  const page = await context.newPage();
  await page.goto(`${origin}/icon.svg`);
  await permitNotifications(context, origin);
  const isReal = await page.evaluate(() => Notification.permission === "granted");
  await context.clearPermissions();
  await page.close();
  if (isReal) return;
  context.on("serviceworker", (worker) => void worker.evaluate(keepShownNotifications));
  await context.addInitScript(keepShownNotifications);
  await context.addInitScript(usePermission);
}

/** The user permits notifications. */
export function permitNotifications(context: BrowserContext, origin: string): Promise<void> {
  return context.grantPermissions(["notifications"], { origin });
}

/** The notifications of the service worker. */
export function notificationsOf(page: Page): Promise<ShownNotification[]> {
  return page.evaluate(async () => {
    const worker = await navigator.serviceWorker.ready;
    const shown = await worker.getNotifications();
    return shown.map(({ title, body, tag }) => ({ title, body, tag }));
  });
}

/**
 * Clicks on the only notification, in Chromium. A headless browser has nothing to click on, so the worker gets the
 * event of a click. It may not focus a page, because browsers permit that only to the event of a real click.
 */
export async function clickNotification(context: BrowserContext): Promise<void> {
  const [worker] = context.serviceWorkers();
  if (worker === undefined) throw new Error("the context has no service worker");
  await worker.evaluate(async () => {
    const { registration } = globalThis as unknown as { registration: ServiceWorkerRegistration };
    const [notification] = await registration.getNotifications();
    const waitUntil = (work: Promise<unknown>) => void work.catch(() => {});
    globalThis.dispatchEvent(Object.assign(new Event("notificationclick"), { notification, waitUntil }));
  });
}

/** Keeps the notifications of the service worker in a cache. Runs in the worker, and in pages before their scripts. */
function keepShownNotifications(): void {
  interface Kept {
    readonly id: string;
    readonly title: string;
    readonly tag: string;
  }
  const open = () => caches.open("test-notifications");
  const list = async (): Promise<Kept[]> => (await (await open()).match("/list"))?.json() ?? [];
  const save = async (kept: Kept[]) => (await open()).put("/list", new Response(JSON.stringify(kept)));
  Object.assign(ServiceWorkerRegistration.prototype, {
    showNotification: async (
      title: string,
      { body = "", tag = "", data = null }: NotificationOptions = {},
    ) => {
      const others = (await list()).filter((one) => tag === "" || one.tag !== tag);
      const shown = { id: crypto.randomUUID(), title, body, tag, data };
      await save([...others, shown]);
    },
    getNotifications: async ({ tag = "" } = {}) =>
      (await list())
        .filter((one) => tag === "" || one.tag === tag)
        .map((one) => ({
          ...one,
          close: async () => save((await list()).filter(({ id }) => id !== one.id)),
        })),
  });
}

/** Lets the page see the permission as the browser has it. Runs in the page, before its scripts. */
function usePermission(): void {
  const { permissions } = navigator;
  const query = permissions.query.bind(permissions);
  const asked = query({ name: "notifications" });
  let status: PermissionStatus | undefined;
  void asked.then((found) => {
    status = found;
  });
  // All callers get the same object, so that its event never comes before its new state.
  permissions.query = (descriptor) => (descriptor.name === "notifications" ? asked : query(descriptor));
  Object.defineProperty(Notification, "permission", {
    get: () => (status?.state === "granted" ? "granted" : "default"),
  });
}
