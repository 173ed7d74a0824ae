/** What a notification shows, and the message that a click opens. */
interface ShownNotification {
  readonly title: string;
  readonly body: string;
  readonly room: string;
  readonly seq: number;
  readonly icon: string | undefined;
  /** Whether the service worker shows it, if there is one. */
  readonly byWorker: boolean;
}

/** The notifications that this page has shown itself, and the seq of their message, by room. */
const shownByPage = new Map<string, { readonly notification: Notification; readonly seq: number }>();

/**
 * Shows a notification, which replaces the earlier one of the same room. `open` is called after a click on it. Returns
 * whether it was shown.
 */
export async function showNotification(
  { title, body, room, seq, icon, byWorker }: ShownNotification,
  open: (room: string, seq: number) => void,
): Promise<boolean> {
  const options = { body, tag: `tidings/${room}`, data: { room, seq }, ...(icon && { icon }) };
  // Chromium keeps the notifications of pages and those of workers apart, so only a worker replaces push messages.
  if (byWorker && (await showByWorker(title, options))) return true;
  try {
    const notification = new Notification(title, options);
    shownByPage.set(room, { notification, seq });
    notification.onclick = () => {
      notification.close();
      open(room, seq);
    };
    return true;
  } catch {
    // Browsers of phones show notifications of a service worker only, and the worker handles the click.
    return showByWorker(title, options);
  }
}

/** Closes the notifications of messages that are read. A room has one notification, of its latest message. */
export async function closeNotifications(isRead: (room: string, seq: number) => boolean): Promise<void> {
  for (const [room, { notification, seq }] of shownByPage) {
    if (!isRead(room, seq)) continue;
    shownByPage.delete(room);
    notification.close();
  }
  const shown = await (await currentWorker())?.getNotifications().catch(() => []);
  for (const notification of shown ?? []) {
    const { room, seq } = (notification.data ?? {}) as { room?: unknown; seq?: unknown };
    if (typeof room === "string" && typeof seq === "number" && isRead(room, seq)) notification.close();
  }
}

async function showByWorker(title: string, options: NotificationOptions): Promise<boolean> {
  const worker = await currentWorker();
  if (worker === undefined) return false;
  return worker.showNotification(title, options).then(
    () => true,
    () => false,
  );
}

/** The service worker of the page. Browsers forbid it in some private windows. */
async function currentWorker(): Promise<ServiceWorkerRegistration | undefined> {
  return navigator.serviceWorker?.getRegistration().catch(() => undefined);
}
