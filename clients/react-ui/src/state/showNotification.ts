/** What a notification shows, and the message that a click opens. */
interface ShownNotification {
  readonly title: string;
  readonly body: string;
  readonly room: string;
  readonly seq: number;
  readonly icon: string | undefined;
}

/**
 * Shows a notification, which replaces the earlier one of the same room. `open` is called after a click on it. Returns
 * whether it was shown.
 */
export async function showNotification(
  { title, body, room, seq, icon }: ShownNotification,
  open: (room: string, seq: number) => void,
): Promise<boolean> {
  const options = { body, tag: `tidings/${room}`, data: { room, seq }, ...(icon && { icon }) };
  try {
    const notification = new Notification(title, options);
    notification.onclick = () => {
      notification.close();
      open(room, seq);
    };
    return true;
  } catch {
    // Browsers of phones show notifications of a service worker only, and the worker handles the click.
    const worker = await navigator.serviceWorker?.getRegistration().catch(() => undefined);
    return (
      worker?.showNotification(title, options).then(
        () => true,
        () => false,
      ) ?? false
    );
  }
}
