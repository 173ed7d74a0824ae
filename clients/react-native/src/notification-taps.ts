import type { RoomPosition } from "@tidings/client";

/** The part of a response of `expo-notifications` that `notificationTaps` uses. */
export interface NotificationResponseLike {
  readonly actionIdentifier: string;
  readonly notification: {
    readonly request: { readonly identifier: string; readonly content: { readonly data?: unknown } };
  };
}

/** The part of `expo-notifications` that `notificationTaps` uses. */
export interface NotificationsLike {
  readonly DEFAULT_ACTION_IDENTIFIER: string;
  addNotificationResponseReceivedListener(listener: (response: NotificationResponseLike) => void): {
    remove(): void;
  };
  getLastNotificationResponse(): NotificationResponseLike | null;
  clearLastNotificationResponse(): void;
}

/**
 * Calls `open` for each notification that the user taps, also for the tap that started the app. The data of the
 * notification are `{ room, seq }`; notifications without a room, and their buttons, are left to the app. Returns a
 * function that ends this.
 *
 * @param open shows a room around a position, which is `unread` when the notification has no seq
 */
export function notificationTaps(
  notifications: NotificationsLike,
  open: (room: string, at: RoomPosition) => void,
): () => void {
  /** The tap that started the app. The listener may receive it too. */
  let first: string | undefined;
  const opened = (response: NotificationResponseLike): boolean => {
    const target = targetOf(response, notifications.DEFAULT_ACTION_IDENTIFIER);
    if (target === undefined) return false;
    // The module keeps the last response, and would return it again when the app loads its code anew.
    notifications.clearLastNotificationResponse();
    open(target.room, target.at);
    return true;
  };
  const last = lastResponse(notifications);
  if (last !== null && opened(last)) first = last.notification.request.identifier;
  const subscription = notifications.addNotificationResponseReceivedListener((response) => {
    const repeated = response.notification.request.identifier === first;
    // Cleared, because a notification that stays on the screen can be tapped again.
    first = undefined;
    if (!repeated) opened(response);
  });
  return () => subscription.remove();
}

/** Returns the response that the module keeps. The module throws on platforms without notifications, such as the web. */
function lastResponse(notifications: NotificationsLike): NotificationResponseLike | null {
  try {
    return notifications.getLastNotificationResponse();
  } catch {
    return null;
  }
}

/** Returns the target of a tap; undefined for a button of a notification, and for data without a room. */
function targetOf(
  { actionIdentifier, notification }: NotificationResponseLike,
  tapped: string,
): { room: string; at: RoomPosition } | undefined {
  const { data } = notification.request.content;
  if (actionIdentifier !== tapped || typeof data !== "object" || data === null) return undefined;
  const { room, seq } = data as { room?: unknown; seq?: unknown };
  if (typeof room !== "string" || room === "") return undefined;
  // All values in the data of Firebase are strings.
  const at = typeof seq === "string" && /^\d{1,15}$/.test(seq) ? Number(seq) : seq;
  return { room, at: typeof at === "number" && Number.isSafeInteger(at) && at > 0 ? at : "unread" };
}
